# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
def attack():
    return attack()
