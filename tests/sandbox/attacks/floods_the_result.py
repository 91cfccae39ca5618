# /// attack
# must-not = "give more answers than were asked for"
# allowed = ["output", "error", "ok"]
# stopped-by = "runner"
# ///
import os


def attack():
    while True:
        os.write(3, b"\x01\0\0\0V")
