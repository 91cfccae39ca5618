# /// attack
# must-not = "use more than its limits while its constants are folded"
# allowed = ["memory", "error", "timeout", "ok"]
# returns = "None"
# stopped-by = "runner"
# ///
def attack():
    ((((((((1 << 4000) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2
