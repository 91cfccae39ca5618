# /// attack
# must-not = "start threads without end"
# allowed = ["ok", "error", "memory", "timeout", "crash"]
# returns = "True"
# ///
import threading
import time


def attack():
    started = 0
    for _ in range(2000):
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            started += 1
        except RuntimeError:
            break
    return started < 100
