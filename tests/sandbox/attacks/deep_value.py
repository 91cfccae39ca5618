# /// attack
# must-not = "exhaust the stack of the host"
# allowed = ["error"]
# stopped-by = "runner"
# ///
def attack():
    x = []
    for _ in range(100_000):
        x = [x]
    return x
