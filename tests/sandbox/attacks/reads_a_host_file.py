# /// attack
# must-not = "read a world-readable file of the host"
# allowed = ["error"]
# call = "attack({canary})"
# ///
def attack(path):
    return open(path).read()
