# /// attack
# must-not = "run past its CPU limit inside one C call"
# allowed = ["timeout"]
# stopped-by = "runner"
# ///
def attack():
    return sum(range(10**12))
