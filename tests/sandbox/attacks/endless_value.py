# /// attack
# must-not = "make the encoder run for ever"
# allowed = ["error", "timeout"]
# stopped-by = "runner"
# ///
import itertools


def attack():
    return itertools.count()
