# /// program
# prints = "1"
# exit-code = 1
# ///
print(1)
raise ValueError("two")
