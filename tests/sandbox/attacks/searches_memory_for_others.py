# /// attack
# must-not = "find another program's text among its own objects"
# allowed = ["ok"]
# returns = "0"
# call = "attack({canary_hidden})"
# ///
import gc
import sys


def attack(hidden):
    needle = bytes(b ^ 0x55 for b in hidden).decode()
    found = 0
    for thing in gc.get_objects() + list(sys.modules.values()):
        try:
            found += needle in repr(vars(thing))[:100_000]
        except Exception:
            pass
    return found
