# /// attack
# must-not = "end anything but itself"
# allowed = ["crash"]
# ///
import os


def attack():
    os.abort()
