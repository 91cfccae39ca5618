# /// attack
# must-not = "hold its slot from an exit hook"
# allowed = ["timeout"]
# kind = "stdin"
# stopped-by = "runner"
# ///
import atexit
import time

atexit.register(time.sleep, 100)
print("done")
