# /// attack
# must-not = "get the CPU limit once per thread"
# allowed = ["timeout"]
# stopped-by = "runner"
# ///
import threading


def spin():
    while True:
        pass


def attack():
    for _ in range(4):
        threading.Thread(target=spin, daemon=True).start()
    spin()
