# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
import sys


def attack():
    sys.exit(0)
