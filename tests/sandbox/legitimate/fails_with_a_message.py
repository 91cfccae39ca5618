# /// program
# prints = ""
# exit-code = 1
# ///
import sys

sys.exit("message")
