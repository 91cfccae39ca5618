# /// attack
# must-not = "return more than its output limit"
# allowed = ["error"]
# stopped-by = "runner"
# ///
def attack():
    return "x" * (1 << 20)
