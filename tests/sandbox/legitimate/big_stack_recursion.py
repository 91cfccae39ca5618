# /// program
# prints = "20000"
# ///
import sys
import threading

sys.setrecursionlimit(50000)
threading.stack_size(64 << 20)


def f(n):
    return 0 if n == 0 else 1 + f(n - 1)


thread = threading.Thread(target=lambda: print(f(20000)))
thread.start()
thread.join()
