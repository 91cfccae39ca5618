# /// attack
# must-not = "trace another process or compare kernel objects with it"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import ctypes
import os
import platform

PTRACE, KCMP = {"x86_64": (101, 312), "aarch64": (117, 272)}[platform.machine()]


def attack(host):
    libc, worked = ctypes.CDLL(None), []
    for pid in {1, 2, 3, host, os.getppid()} - {os.getpid()}:
        for request in (16, 0x4206):
            if libc.syscall(PTRACE, request, pid, 0, 0) == 0:
                worked.append((pid, request))
        if libc.syscall(KCMP, os.getpid(), pid, 2, 0, 0) >= 0:
            worked.append((pid, "kcmp"))
    if libc.syscall(PTRACE, 0, 0, 0, 0) == 0:
        worked.append("traceme")
    return worked
