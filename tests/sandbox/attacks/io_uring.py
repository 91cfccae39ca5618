# /// attack
# must-not = "do input and output past the system call filter"
# allowed = ["ok"]
# returns = "-1"
# ///
import ctypes


def attack():
    return ctypes.CDLL(None).syscall(425, 1, 0)
