# /// program
# prints = "20000 20000"
# ///
import resource
import sys
import threading

soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
for limit in ((1 << 28, hard), (1 << 29, -1), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
    resource.setrlimit(resource.RLIMIT_STACK, limit)
sys.setrecursionlimit(1 << 20)
threading.stack_size(1 << 26)


class Deep:
    def __init__(self, depth):
        self.depth = depth

    def __call__(self):
        return 0 if self.depth == 0 else 1 + sum(map(Deep.__call__, [Deep(self.depth - 1)]))


found = []
print(Deep(20000)(), end=" ", flush=True)
thread = threading.Thread(target=lambda: found.append(Deep(20000)()))
thread.start()
thread.join()
print(*found)
