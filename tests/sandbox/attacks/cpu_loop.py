# /// attack
# must-not = "run past its CPU limit"
# allowed = ["timeout"]
# ///
def attack():
    while True:
        pass
