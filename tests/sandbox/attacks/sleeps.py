# /// attack
# must-not = "hold its slot past the wall-clock limit"
# allowed = ["timeout"]
# ///
import time


def attack():
    time.sleep(100)
