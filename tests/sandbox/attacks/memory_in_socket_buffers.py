# /// attack
# must-not = "have the kernel hold more for it than its limit of memory"
# allowed = ["ok"]
# returns = "(0, True)"
# ///
import socket


def attack():
    pairs, held, enlarged = [], 0, 0
    while True:
        try:
            ends = socket.socketpair()
        except OSError:
            break
        pairs.append(ends)
        for end in ends:
            end.setblocking(False)
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
                enlarged += 1
            except OSError:
                pass
            try:
                while True:
                    held += end.send(bytes(1 << 16))
            except BlockingIOError:
                pass
    return enlarged, held < 64 << 20
