# /// attack
# must-not = "get more memory than its limit in small steps"
# allowed = ["memory", "timeout"]
# ///
def attack():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
