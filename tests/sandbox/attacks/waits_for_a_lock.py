# /// attack
# must-not = "hold its slot past the wall-clock limit in a wait without a deadline"
# allowed = ["timeout"]
# stopped-by = "runner"
# ///
import threading


def attack():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
