# /// program
# stdin = "1 2 3"
# prints = "6"
# ///
import sys

print(sum(map(int, sys.stdin.read().split())))
