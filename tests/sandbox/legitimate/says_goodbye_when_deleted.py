# /// program
# prints = "begin\nmain done\nexit hook\ndeleted: global 2\nclosed generator\ndeleted: cycle 2"
# ///
import atexit
import sys
from typing import List

LEFT = [1, 2]


class Noisy:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("deleted:", self.name, len(LEFT))


def pair() -> List[Noisy]:
    first = Noisy("cycle")
    first.itself = first
    return [first]


def suspended():
    try:
        yield
    finally:
        sys.stdout.write("closed generator\n")
        sys.stdout.flush()


print("begin")
atexit.register(print, "exit hook")
held = pair()
kept = Noisy("global")
waiting = suspended()
next(waiting)
print("main done")
sys.exit(0)
