# /// attack
# must-not = "make a file larger than its limit"
# allowed = ["ok", "error", "crash"]
# returns = "[]"
# ///
import os


def attack():
    made = []
    with open("sparse", "wb") as file:
        for action in (lambda: file.truncate(1 << 40), lambda: os.posix_fallocate(file.fileno(), 0, 1 << 40)):
            try:
                action()
                made.append(file.tell())
            except OSError:
                pass
    return made
