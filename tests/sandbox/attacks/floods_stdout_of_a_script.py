# /// attack
# must-not = "send more output than its limit"
# allowed = ["output"]
# kind = "stdin"
# ///
while True:
    print("x" * 65536)
