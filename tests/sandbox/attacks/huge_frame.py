# /// attack
# must-not = "make the host hold an answer of 4 GiB"
# allowed = ["output"]
# stopped-by = "runner"
# ///
import os


def attack():
    os.write(3, b"\xff\xff\xff\xff")
    while True:
        os.write(3, b"x" * 65536)
