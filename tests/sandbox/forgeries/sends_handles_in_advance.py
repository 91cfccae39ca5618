# /// forgery
# hack = "sends replies that stand for objects it does not have"
# ///
import os
import struct


def forge(*arguments):
    for reply in [b'["t",true,["h",[999999,"int"]],["l"]]', b'["t",true,["h",[-1,"list"]],["l"]]', b'["t",true,["h",[true,"x"]],["l"]]'] * 5:
        for fd in (3, 4, 5):
            try:
                os.write(fd, struct.pack("<I", len(reply)) + reply)
            except OSError:
                pass
    return 123456789
