# /// attack
# must-not = "send more than a note's worth of error text"
# allowed = ["error", "memory"]
# stopped-by = "runner"
# ///
def attack():
    raise ValueError("x" * (100 << 20))
