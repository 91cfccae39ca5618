# /// program
# stdin = "4 4\n1 2 5\n2 3 1\n1 3 9\n3 4 2\n"
# prints = "0 5 6 8"
# ///
import heapq
import sys
from collections import defaultdict


def main():
    data = list(map(int, sys.stdin.buffer.read().split()))
    count, edges = data[0], data[1]
    graph = defaultdict(list)
    for i in range(edges):
        a, b, cost = data[2 + 3 * i : 5 + 3 * i]
        graph[a].append((b, cost))
        graph[b].append((a, cost))
    far = [float("inf")] * (count + 1)
    far[1] = 0
    queue = [(0, 1)]
    while queue:
        d, a = heapq.heappop(queue)
        if d > far[a]:
            continue
        for b, cost in graph[a]:
            if d + cost < far[b]:
                far[b] = d + cost
                heapq.heappush(queue, (far[b], b))
    print(*far[1:])


main()
