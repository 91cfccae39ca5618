# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# stopped-by = "runner"
# ///
import os


def attack():
    os._exit(0)
