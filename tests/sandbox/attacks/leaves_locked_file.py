# /// attack
# must-not = "leave a file that nobody can delete"
# allowed = ["ok"]
# returns = "[]"
# ///
import fcntl
import struct


def attack():
    worked = []
    with open("kept", "w") as file:
        for request in (0x40086602, 0x401C5820):
            try:
                fcntl.ioctl(file, request, struct.pack("q", 0x30))
                worked.append(request)
            except OSError:
                pass
    return worked
