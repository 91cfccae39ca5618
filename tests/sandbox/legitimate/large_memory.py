# /// program
# prints = "209715200"
# ///
x = bytearray(200 << 20)
x[:: 1 << 20] = b"x" * 200
print(len(x))
