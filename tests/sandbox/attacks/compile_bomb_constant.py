# /// attack
# must-not = "use more than its limits while its constants are folded"
# allowed = ["memory", "error", "timeout", "ok"]
# returns = "None"
# ///
def attack():
    ((((((((1 << 4000) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2
