# /// attack
# must-not = "see a file of an earlier program"
# allowed = ["ok"]
# returns = "[]"
# ///
import os
import tempfile


def attack():
    found = []
    for folder in (".", tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp"):
        try:
            found += [f"{folder}/{name}" for name in os.listdir(folder) if not name.startswith("couplet-sandbox-")]
        except OSError:
            pass
    return found
