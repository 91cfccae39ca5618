# /// program
# prints = "ab"
# ///
import sys

sys.stdout.write("a")
sys.stdout.buffer.flush()
sys.stdout.flush()
sys.stdout.buffer.write(b"b")
