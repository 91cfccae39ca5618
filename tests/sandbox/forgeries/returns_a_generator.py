# /// forgery
# hack = "returns a generator that never ends"
# hangs = true
# ///
def forge(*arguments):
    def numbers():
        while True:
            yield 123456789

    return numbers()
