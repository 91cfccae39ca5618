# /// program
# prints = "1"
# ///
import sys

print(1)
sys.exit(0)
