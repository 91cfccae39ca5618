# /// forgery
# hack = "returns what must be awaited"
# ///
async def forge(*arguments):
    return 123456789
