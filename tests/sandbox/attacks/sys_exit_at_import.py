# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
import sys

sys.exit(0)
