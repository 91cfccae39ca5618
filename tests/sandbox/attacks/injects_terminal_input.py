# /// attack
# must-not = "type into a terminal of the host"
# allowed = ["ok"]
# returns = "[]"
# ///
import fcntl


def attack():
    worked = []
    for fd in (0, 1, 2):
        for request in (0x5412, 0x541C, 0x540E):
            try:
                fcntl.ioctl(fd, request, b"x")
                worked.append((fd, request))
            except OSError:
                pass
    return worked
