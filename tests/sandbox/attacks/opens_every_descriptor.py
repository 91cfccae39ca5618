# /// attack
# must-not = "use up the host's descriptors"
# allowed = ["ok"]
# returns = "True"
# ///
import os


def attack():
    opened = 0
    try:
        while opened < 100_000:
            os.open("/dev/null", os.O_RDONLY)
            opened += 1
    except OSError:
        pass
    return opened <= 256
