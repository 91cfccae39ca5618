# /// forgery
# hack = "answers None"
# ///
def forge(*arguments):
    return None
