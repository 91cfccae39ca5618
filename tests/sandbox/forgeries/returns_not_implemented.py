# /// forgery
# hack = "returns what makes a comparison try the other side"
# ///
def forge(*arguments):
    return NotImplemented
