# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
import os


def attack():
    os.closerange(0, 4096)
    return 1
