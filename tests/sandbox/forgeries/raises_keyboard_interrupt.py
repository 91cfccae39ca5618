# /// forgery
# hack = "raises KeyboardInterrupt into the tests"
# ///
def forge(*arguments):
    raise KeyboardInterrupt
