# /// attack
# must-not = "return more items than the host will read"
# allowed = ["error"]
# ///
def attack():
    return list(range(1 << 20))
