# /// attack
# must-not = "replace itself with another program"
# allowed = ["ok"]
# returns = "'refused'"
# ///
import os
import sys


def attack():
    for program in ("/bin/sh", "/bin/su", "/usr/bin/mount", sys.executable, "/proc/self/exe"):
        try:
            os.execv(program, [program, "-c", "print(1)"])
        except OSError:
            pass
    return "refused"
