# /// attack
# must-not = "change the limits of the runner or of another program"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import os
import resource


def attack(host):
    changed = []
    for pid in {1, 2, 3, host, os.getppid(), *range(4, 64)} - {0, os.getpid()}:
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))
            changed.append(pid)
        except OSError:
            pass
    return changed
