# /// attack
# must-not = "start a process through libc"
# allowed = ["ok"]
# returns = "-1"
# ///
import ctypes


def attack():
    return ctypes.CDLL(None).vfork()
