# /// attack
# must-not = "survive its CPU limit by ignoring signals"
# allowed = ["timeout"]
# ///
import signal


def attack():
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
