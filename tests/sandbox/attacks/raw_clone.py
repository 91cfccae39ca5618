# /// attack
# must-not = "start a process through clone, or a namespace along with it"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes
import os
import platform

CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
CLONE3 = 435


def attack():
    libc = ctypes.CDLL(None)
    started = []
    for flags in (17, 0, 0x20000000 | 17, 0x10000000 | 17, 0x00020000 | 17, 0x4000 | 17):
        pid = libc.syscall(CLONE, flags, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid > 0:
            started.append(flags)
    arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
    pid = libc.syscall(CLONE3, arguments, 88)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        started.append("clone3")
    return started
