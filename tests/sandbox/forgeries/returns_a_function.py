# /// forgery
# hack = "returns a function of everything"
# ///
def forge(*arguments):
    return lambda *rest: True
