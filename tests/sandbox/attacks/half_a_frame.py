# /// attack
# must-not = "keep the host waiting for the rest of an answer"
# allowed = ["error", "timeout"]
# stopped-by = "runner"
# ///
import os


def attack():
    os.write(3, b"\x40\0\0\0V")
    os._exit(0)
