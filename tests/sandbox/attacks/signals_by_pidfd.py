# /// attack
# must-not = "signal or take descriptors of another process by its pidfd"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import ctypes
import os


def attack(host):
    libc, worked = ctypes.CDLL(None), []
    for pid in {1, 2, 3, host, os.getppid()} - {os.getpid()}:
        fd = libc.syscall(434, pid, 0)
        if fd < 0:
            continue
        if libc.syscall(424, fd, 19, 0, 0) == 0:
            worked.append((pid, "pidfd_send_signal"))
        if libc.syscall(438, fd, 1, 0) >= 0:
            worked.append((pid, "pidfd_getfd"))
    return worked
