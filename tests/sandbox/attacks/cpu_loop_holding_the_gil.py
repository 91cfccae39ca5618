# /// attack
# must-not = "run past its CPU limit inside a C call that lets no other thread run"
# allowed = ["timeout"]
# stopped-by = "runner"
# ///
import re


def attack():
    return re.match(r"(a+)+$", "a" * 64 + "b")
