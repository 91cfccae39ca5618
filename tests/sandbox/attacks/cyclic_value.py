# /// attack
# must-not = "make the encoder run for ever"
# allowed = ["error"]
# stopped-by = "runner"
# ///
def attack():
    x = []
    x.append(x)
    return x
