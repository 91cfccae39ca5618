# /// program
# stdin = "漢\n"
# prints = "é漢"
# ///
print("é" + input())
