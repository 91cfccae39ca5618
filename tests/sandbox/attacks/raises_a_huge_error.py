# /// attack
# must-not = "send more than a note's worth of error text"
# allowed = ["error", "memory"]
# ///
def attack():
    raise ValueError("x" * (100 << 20))
