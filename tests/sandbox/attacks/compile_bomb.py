# /// attack
# must-not = "end anything but itself, or use more than its limits, while it is compiled"
# allowed = ["memory", "error", "crash", "timeout"]
# ///
def attack():
    return eval("-" * 1_000_000 + "1")
