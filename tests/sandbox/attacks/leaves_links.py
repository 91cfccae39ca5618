# /// attack
# must-not = "make the clean-up follow a link out of its folder"
# allowed = ["ok"]
# returns = "1"
# ///
import os


def attack():
    os.symlink("/", "root")
    os.symlink("/etc", "etc")
    os.symlink("loop", "loop")
    os.makedirs("d")
    os.symlink("../..", "d/up")
    return 1
