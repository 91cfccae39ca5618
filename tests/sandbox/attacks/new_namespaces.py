# /// attack
# must-not = "make or enter a namespace"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes
import os


def attack():
    libc, worked = ctypes.CDLL(None), []
    for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000, 0x80):
        if libc.unshare(flag) == 0:
            worked.append(flag)
    for pid in ("self", 1):
        for name in ("mnt", "pid", "user", "net"):
            try:
                if libc.setns(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0) == 0:
                    worked.append((pid, name))
            except OSError:
                pass
    return worked
