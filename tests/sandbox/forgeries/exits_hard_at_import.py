# /// forgery
# hack = "ends with exit code 0 before any test, without cleaning up"
# ///
import os

os._exit(0)
