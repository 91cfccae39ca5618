# /// attack
# must-not = "end anything but itself"
# allowed = ["crash", "memory", "timeout"]
# ///
import sys


def f():
    return f()


def attack():
    sys.setrecursionlimit(10**9)
    return f()
