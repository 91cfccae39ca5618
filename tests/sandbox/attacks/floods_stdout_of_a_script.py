# /// attack
# must-not = "send more output than its limit"
# allowed = ["output"]
# kind = "stdin"
# stopped-by = "runner"
# ///
while True:
    print("x" * 65536)
