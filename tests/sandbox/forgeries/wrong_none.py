# /// forgery
# cheat = "answers None"
# ///
def forge(*arguments):
    return None
