# /// program
# prints = "printed first"
# ///
import io
import sys

print("printed first")
sys.stdout = io.StringIO()
print("to nobody")
