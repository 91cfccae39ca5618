# /// program
# prints = "12000000"
# ///
x = [0] * 12_000_000
print(len(x))
