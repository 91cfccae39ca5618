# /// attack
# must-not = "send more output than its limit by racing"
# allowed = ["output"]
# stopped-by = "runner"
# ///
import os
import threading


def flood(fd):
    while True:
        os.write(fd, b"x" * 65536)


def attack():
    for fd in (1, 2, 1):
        threading.Thread(target=flood, args=(fd,), daemon=True).start()
    flood(2)
