# /// attack
# must-not = "leave fifos, sockets or devices behind, or make a device at all"
# allowed = ["ok"]
# returns = "[]"
# ///
import os
import stat


def attack():
    made = []
    for kind, device in ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(8, 0))):
        try:
            os.mknod(f"device-{kind}", kind | 0o666, device)
            made.append(kind)
        except OSError:
            pass
    try:
        os.mkfifo("fifo")
    except OSError:
        pass
    return made
