# /// attack
# must-not = "make the host build a dictionary in quadratic time"
# allowed = ["error", "ok", "timeout"]
# stopped-by = "runner"
# ///
import os
import struct

MODULUS = (1 << 61) - 1


def attack():
    keys = ",".join(f'["i","{hex(MODULUS * k)}"]' for k in range(1, 2000))
    body = b"V" + f'["s",{keys}]'.encode()
    os.write(3, struct.pack("<I", len(body)) + body)
    os._exit(0)
