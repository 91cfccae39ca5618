# /// program
# stdin = "1\n"
# prints = "1 end"
# ///
import sys

first = input()
try:
    input()
except EOFError:
    print(first, "end")
