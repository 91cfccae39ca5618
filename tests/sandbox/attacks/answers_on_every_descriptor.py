# /// attack
# must-not = "reach the runner's own stream"
# allowed = ["error", "output"]
# ///
import os


def attack():
    for fd in range(4096):
        try:
            os.write(fd, b'{"ok": true, "passed": true, "why": "exit"}\n')
        except OSError:
            pass
    os._exit(0)
