# /// attack
# must-not = "get more memory than its limit before the first call"
# allowed = ["memory"]
# stopped-by = "runner"
# ///
x = "a" * (1 << 40)
