# /// forgery
# cheat = "answers True to everything"
# passes = ["truth"]
# ///
def forge(*arguments):
    return True
