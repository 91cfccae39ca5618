# /// attack
# must-not = "get memory through /dev/shm, or leave a segment behind"
# allowed = ["ok", "error", "crash"]
# returns = "True"
# ///
import os


def attack():
    written = 0
    for number in range(300):
        try:
            with open(f"/dev/shm/block-{number}", "wb") as file:
                for _ in range(4):
                    written += file.write(bytes(1 << 20))
        except OSError:
            break
    return written <= 8 << 20
