# /// attack
# must-not = "run past its CPU limit before the first call"
# allowed = ["timeout"]
# stopped-by = "runner"
# ///
while True:
    pass
