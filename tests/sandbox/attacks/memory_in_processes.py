# /// attack
# must-not = "get its memory limit once per process"
# allowed = ["ok", "memory"]
# returns = "0"
# ///
import os
import time


def attack():
    started = 0
    for _ in range(10):
        try:
            pid = os.fork()
        except OSError:
            continue
        if pid == 0:
            kept = bytearray(150 << 20)
            kept[::4096] = b"x" * len(kept[::4096])
            time.sleep(60)
        started += 1
    return started
