# /// forgery
# hack = "claims changes of arguments that it was never given"
# ///
import os
import struct


def forge(*arguments):
    for reply in [b'["t",true,7,["l",["t",0,["l",1,2,3]],["t",-1,["l"]],["t",99,["d"]]]]'] * 20:
        for fd in (3, 4, 5):
            try:
                os.write(fd, struct.pack("<I", len(reply)) + reply)
            except OSError:
                pass
    return 123456789
