# /// program
# stdin = "1\n2\n"
# prints = "3"
# ///
print(int(input()) + int(input()))
