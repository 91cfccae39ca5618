# /// attack
# must-not = "change its identity or its groups"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    worked = []
    for name, action in {
        "setresuid": lambda: os.setresuid(0, 0, 5),
        "setuid": lambda: os.setuid(5),
        "setresgid": lambda: os.setresgid(0, 0, 5),
        "setgroups": lambda: os.setgroups([0, 42]),
        "chroot": lambda: os.chroot("/"),
        "chown": lambda: os.chown(".", 0, 0),
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
        "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    }.items():
        try:
            action()
            worked.append(name)
        except OSError:
            pass
    return worked
