# /// forgery
# hack = "returns an exception instead of raising it"
# ///
def forge(*arguments):
    return SystemExit(0)
