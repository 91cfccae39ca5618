# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# stopped-by = "runner"
# ///
import sys


def attack():
    sys.exit(0)
