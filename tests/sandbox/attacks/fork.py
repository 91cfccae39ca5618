# /// attack
# must-not = "start a process"
# allowed = ["ok"]
# returns = "'refused'"
# ///
import os


def attack():
    try:
        pid = os.fork()
    except OSError:
        return "refused"
    if pid == 0:
        os._exit(0)
    return pid
