# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# stopped-by = "runner"
# ///
import os

os._exit(0)
