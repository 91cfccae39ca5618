# /// attack
# must-not = "send more output than its limit"
# allowed = ["output"]
# stopped-by = "runner"
# ///
import sys


def attack():
    while True:
        sys.stdout.write("x" * 65536)
