# /// attack
# must-not = "return more than its output limit"
# allowed = ["error"]
# ///
def attack():
    return "x" * (1 << 20)
