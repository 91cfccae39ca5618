# /// forgery
# hack = "raises what generators swallow"
# ///
def forge(*arguments):
    raise GeneratorExit
