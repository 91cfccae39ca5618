# /// attack
# must-not = "make system calls under their x32 numbers"
# allowed = ["crash", "ok"]
# returns = "-1"
# ///
import ctypes


def attack():
    return ctypes.CDLL(None).syscall(0x40000000 + 39)
