# /// attack
# must-not = "be taken for an answer, or block the relay"
# allowed = ["error", "output"]
# ///
import os


def attack():
    os.dup2(1, 3)
    return 1
