# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# stopped-by = "runner"
# ///
x = 'ÿ'
