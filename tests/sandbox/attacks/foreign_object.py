# /// attack
# must-not = "cross as an object"
# allowed = ["error"]
# ///
def attack():
    return object()
