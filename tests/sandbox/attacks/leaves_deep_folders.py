# /// attack
# must-not = "make the clean-up fail on a deep tree"
# allowed = ["ok"]
# returns = "True"
# ///
import os


def attack():
    for depth in range(1500):
        try:
            os.mkdir("d")
            os.chdir("d")
        except OSError:
            break
    return depth > 10
