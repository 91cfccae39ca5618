# /// forgery
# hack = "nothing: an honest wrong answer, for comparison"
# ///
def forge(*arguments):
    return 123456789
