# /// attack
# must-not = "hold its slot by stopping itself"
# allowed = ["ok", "timeout"]
# returns = "1"
# ///
import os
import signal


def attack():
    os.kill(os.getpid(), signal.SIGSTOP)
    os.killpg(0, signal.SIGSTOP)
    return 1
