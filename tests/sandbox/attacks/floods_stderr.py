# /// attack
# must-not = "send more output than its limit on stderr"
# allowed = ["output"]
# stopped-by = "runner"
# ///
import os


def attack():
    while True:
        os.write(2, b"x" * 65536)
