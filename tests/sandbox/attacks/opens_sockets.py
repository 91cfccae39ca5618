# /// attack
# must-not = "make a socket of any family"
# allowed = ["ok"]
# returns = "[]"
# ///
import socket


def attack():
    made = []
    for family in range(1, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind).close()
                made.append((family, kind))
            except OSError:
                pass
    return made
