# /// forgery
# cheat = "returns a function of everything"
# ///
def forge(*arguments):
    return lambda *rest: True
