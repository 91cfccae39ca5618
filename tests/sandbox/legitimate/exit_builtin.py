# /// program
# prints = "1"
# ///
print(1)
exit()
print(2)
