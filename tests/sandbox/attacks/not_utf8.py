# /// attack
# must-not = "be taken for an answer"
# allowed = ["error"]
# ///
x = 'ÿ'
