# /// forgery
# hack = "answers once, then hangs, hoping that no verdict is a good one"
# hangs = true
# ///
import time

calls = [0]


def forge(*arguments):
    calls[0] += 1
    if calls[0] > 1:
        time.sleep(1000)
    return 123456789
