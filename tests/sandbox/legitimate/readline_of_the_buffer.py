# /// program
# stdin = "a\nb\n"
# prints = "b'a\\n' b'b\\n'"
# ///
import sys

r = sys.stdin.buffer.readline
print(r(), r())
