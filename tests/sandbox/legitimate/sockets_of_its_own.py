# /// program
# prints = "b'x'"
# ///
import socket

left, right = socket.socketpair()
left.send(b"x")
print(right.recv(1))
