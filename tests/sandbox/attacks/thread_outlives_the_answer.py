# /// attack
# must-not = "keep running after its answer"
# allowed = ["ok"]
# returns = "1"
# ///
import threading


def spin():
    while True:
        pass


def attack():
    threading.Thread(target=spin, daemon=False).start()
    return 1
