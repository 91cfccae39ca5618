# /// attack
# must-not = "get more memory than its limit at once"
# allowed = ["memory"]
# ///
def attack():
    return len(bytearray(10 << 30))
