# /// attack
# must-not = "leave a daemon running"
# allowed = ["ok"]
# returns = "0"
# ///
import os
import time


def attack():
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
    except OSError:
        pass
    return 0
