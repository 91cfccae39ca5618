# /// attack
# must-not = "reach a unix socket of the host, by name or datagram"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({socket})"
# ///
import socket


def attack(name):
    worked = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        try:
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.connect("\0" + name)
            worked.append(kind)
        except OSError:
            pass
    try:
        left, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        left.sendto(b"x", "\0" + name)
        worked.append("datagram pair")
    except OSError:
        pass
    try:
        left, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        left.connect("\0" + name)
        worked.append("stream pair")
    except OSError:
        pass
    return worked
