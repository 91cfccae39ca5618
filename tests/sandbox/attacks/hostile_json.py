# /// attack
# must-not = "break the host's parser"
# allowed = ["ok", "error"]
# stopped-by = "runner"
# ///
import os
import struct


def attack():
    body = b"V" + b"[" * 60_000
    os.write(3, struct.pack("<I", len(body)) + body)
    os._exit(0)
