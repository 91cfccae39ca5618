# /// attack
# must-not = "read a host file by links, file handles or the root of another process"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({canary})"
# ///
import ctypes
import os


def attack(path):
    libc, worked = ctypes.CDLL(None), []
    os.symlink(path, "link")
    tries = ["link", *(f"/proc/{pid}/{name}{path}" for pid in ("self", 1, 2, os.getppid()) for name in ("root", "cwd"))]
    tries += ["/" + "../" * 20 + path, f"/proc/self/fd/0/../../..{path}", f"/dev/fd/..{path}"]
    for name in tries:
        try:
            open(name).read()
            worked.append(name)
        except OSError:
            pass
    if libc.syscall(304, -100, b"\0" * 128, 0) >= 0:
        worked.append("open_by_handle_at")
    return worked
