# /// attack
# must-not = "move the process that it was forked from, or another, to one core, or slow it down"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import ctypes
import os
import platform

IOPRIO_SET = {"x86_64": 251, "aarch64": 30}[platform.machine()]


def attack(host):
    libc, moved = ctypes.CDLL(None), []
    for pid in {1, 2, 3, host, os.getppid(), *range(4, 64)} - {0, os.getpid()}:
        for name, action in (
            ("affinity", lambda: os.sched_setaffinity(pid, {0})),
            ("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
            ("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))),
        ):
            try:
                action()
                moved.append((pid, name))
            except OSError:
                pass
        if libc.syscall(IOPRIO_SET, 1, pid, 3 << 13) == 0:
            moved.append((pid, "ioprio"))
    return moved
