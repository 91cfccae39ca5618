# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
import os

os._exit(0)
