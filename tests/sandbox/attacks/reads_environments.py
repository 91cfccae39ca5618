# /// attack
# must-not = "see a secret in any process's environment"
# allowed = ["ok", "error"]
# call = "attack({host})"
# ///
import os


def attack(host):
    found = []
    for pid in ("self", "thread-self", 1, 2, 3, host, os.getppid(), os.getpid()):
        try:
            found.append(open(f"/proc/{pid}/environ", "rb").read())
        except OSError:
            pass
    return str(found) + str(dict(os.environ))
