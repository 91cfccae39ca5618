# /// attack
# must-not = "run past its CPU limit before the first call"
# allowed = ["timeout"]
# ///
while True:
    pass
