# /// attack
# must-not = "return more items than the host will read"
# allowed = ["error"]
# stopped-by = "runner"
# ///
def attack():
    return list(range(1 << 20))
