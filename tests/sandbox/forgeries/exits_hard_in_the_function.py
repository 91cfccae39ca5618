# /// forgery
# hack = "ends with exit code 0 when first called, without cleaning up"
# ///
import os


def forge(*arguments):
    os._exit(0)
