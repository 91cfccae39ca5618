# /// attack
# must-not = "read the host's next request"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    found = []
    for fd in range(3, 256):
        try:
            os.set_blocking(fd, False)
            data = os.read(fd, 100)
        except OSError:
            continue
        if data:
            found.append(fd)
    return found
