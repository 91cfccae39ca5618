# /// attack
# must-not = "keep the next program out of its folder, or take the slot with it"
# allowed = ["ok"]
# returns = "1"
# ///
import os


def attack():
    os.makedirs("a/b")
    os.chmod("a/b", 0)
    os.chmod("a", 0)
    try:
        os.chmod(".", 0)
    except OSError:
        pass
    return 1
