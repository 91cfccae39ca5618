# /// program
# prints = "done"
# ///
import sys

print("x" * 30_000, file=sys.stderr)
print("done")
