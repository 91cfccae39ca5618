# /// attack
# must-not = "kill the runner or another program"
# allowed = ["ok", "crash", "error"]
# returns = "1"
# call = "attack({host})"
# ///
import os


def attack(host):
    for pid in (-1, 0, 1, 2, 3, host, os.getppid(), *range(100, 400)):
        if pid != os.getpid():
            try:
                os.kill(pid, 9)
            except OSError:
                pass
    return 1
