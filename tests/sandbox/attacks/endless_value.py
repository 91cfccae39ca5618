# /// attack
# must-not = "make the encoder run for ever"
# allowed = ["error", "timeout"]
# ///
import itertools


def attack():
    return itertools.count()
