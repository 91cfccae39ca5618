# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
import os


def attack():
    os._exit(0)
