# /// program
# stdin = "abc"
# prints = "cba"
# ///
print(open(0).read()[::-1])
