# /// attack
# must-not = "make the encoder run for ever"
# allowed = ["error"]
# ///
def attack():
    x = []
    x.append(x)
    return x
