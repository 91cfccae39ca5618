# /// attack
# must-not = "start a process by posix_spawn"
# allowed = ["ok"]
# returns = "'refused'"
# ///
import os
import sys


def attack():
    try:
        return os.posix_spawn(sys.executable, [sys.executable, "-c", "while True: pass"], {})
    except OSError:
        return "refused"
