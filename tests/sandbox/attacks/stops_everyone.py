# /// attack
# must-not = "stop the runner, and with it its clock"
# allowed = ["ok"]
# returns = "1"
# call = "attack({host})"
# ///
import os


def attack(host):
    for pid in (-1, 1, 2, host, os.getppid()):
        if pid != os.getpid():
            try:
                os.kill(pid, 19)
            except OSError:
                pass
    return 1
