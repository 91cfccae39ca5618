# /// attack
# must-not = "end the run in the runner's name"
# allowed = ["error", "output"]
# ///
import json
import os
import struct


def attack():
    body = json.dumps({"why": "exit", "status": 0, "cpu": 0.0, "wall": 0.0, "peak_kb": 1, "marks": [[0, 0]] * 3}).encode()
    for fd in range(64):
        for kind in (1, 5):
            try:
                os.write(fd, struct.pack("<BI", kind, len(body)) + body)
            except OSError:
                pass
    os._exit(0)
