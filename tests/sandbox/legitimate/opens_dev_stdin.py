# /// program
# stdin = "abc\n"
# prints = "ABC"
# ///
print(open("/dev/stdin").read().strip().upper())
