# /// attack
# must-not = "change what the next program runs on"
# allowed = ["ok", "error", "crash"]
# ///
import builtins
import json
import math
import os
import sys


def attack():
    builtins.len = builtins.sorted = lambda *arguments: 42
    json.dumps = json.loads = lambda *arguments, **options: "{}"
    math.sqrt = None
    sys.modules.clear()
    os.environ["PATH"] = "/evil"
    sys.setrecursionlimit(50)
    sys.stdout = sys.stderr = None
    return 1
