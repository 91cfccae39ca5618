# /// attack
# must-not = "cross as an object"
# allowed = ["error"]
# stopped-by = "runner"
# ///
def attack():
    return object()
