# /// attack
# must-not = "reach a listener on the host's loopback"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({port})"
# ///
import socket


def attack(port):
    worked = []
    for address in ("127.0.0.1", "localhost", "0.0.0.0", "::1"):
        try:
            socket.create_connection((address, port), 0.2).send(b"x")
            worked.append(address)
        except OSError:
            pass
    return worked
