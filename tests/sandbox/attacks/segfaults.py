# /// attack
# must-not = "end anything but itself, or leave a core dump"
# allowed = ["crash"]
# ///
import ctypes


def attack():
    return ctypes.string_at(0)
