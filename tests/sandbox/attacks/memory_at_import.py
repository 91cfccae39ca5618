# /// attack
# must-not = "get more memory than its limit before the first call"
# allowed = ["memory"]
# ///
x = "a" * (1 << 40)
