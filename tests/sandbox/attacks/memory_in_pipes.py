# /// attack
# must-not = "fill kernel buffers beyond its descriptors"
# allowed = ["ok"]
# returns = "True"
# ///
import fcntl
import os


def attack():
    held = 0
    for _ in range(10000):
        try:
            _, write = os.pipe()
            fcntl.fcntl(write, 1031, 1 << 20)
        except OSError:
            break
        os.set_blocking(write, False)
        try:
            while True:
                held += os.write(write, bytes(1 << 16))
        except BlockingIOError:
            pass
    return held < 64 << 20
