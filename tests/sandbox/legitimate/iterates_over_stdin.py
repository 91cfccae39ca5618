# /// program
# stdin = "3\n1\n2\n"
# prints = "[1, 2, 3]"
# ///
import sys

print(sorted(int(line) for line in sys.stdin))
