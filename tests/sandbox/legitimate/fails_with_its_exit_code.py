# /// program
# prints = "1"
# exit-code = 3
# ///
import sys

print(1)
sys.exit(3)
