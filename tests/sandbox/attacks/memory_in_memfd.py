# /// attack
# must-not = "get memory that no limit counts"
# allowed = ["ok"]
# returns = "'refused'"
# ///
import os


def attack():
    try:
        return os.memfd_create("x")
    except OSError:
        return "refused"
