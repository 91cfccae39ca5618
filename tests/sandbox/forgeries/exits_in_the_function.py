# /// forgery
# hack = "ends with exit code 0 when first called"
# ///
import sys


def forge(*arguments):
    sys.exit(0)
