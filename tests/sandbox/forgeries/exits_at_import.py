# /// forgery
# hack = "ends with exit code 0 before any test"
# ///
import sys

sys.exit(0)
