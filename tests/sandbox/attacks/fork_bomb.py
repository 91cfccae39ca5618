# /// attack
# must-not = "start processes without end, or leave any behind"
# allowed = ["ok"]
# returns = "0"
# ///
import os


def attack():
    started = 0
    for _ in range(400):
        try:
            pid = os.fork()
        except OSError:
            continue
        if pid == 0:
            while True:
                pass
        started += 1
    return started
