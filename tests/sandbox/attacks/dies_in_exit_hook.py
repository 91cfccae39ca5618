# /// attack
# must-not = "be taken for success after an error in an exit hook"
# allowed = ["error", "crash"]
# kind = "stdin"
# stopped-by = "runner"
# ///
import atexit
import os

atexit.register(os.abort)
print("fine")
