# /// attack
# must-not = "have the kernel signal another process when a descriptor becomes ready"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import fcntl
import os
import signal
import socket


def attack(host):
    ours, theirs = socket.socketpair()
    worked = []
    for pid in {1, 2, 3, host, os.getppid(), *range(4, 64)} - {0, os.getpid()}:
        for action, value in ((fcntl.F_SETOWN, pid), (10, signal.SIGKILL)):  # F_SETSIG
            try:
                fcntl.fcntl(ours, action, value)
                worked.append((pid, action))
            except OSError:
                pass
        try:
            fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | os.O_ASYNC)
            theirs.send(b"ready")
        except OSError:
            pass
    return worked
