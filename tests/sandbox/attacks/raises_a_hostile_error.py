# /// attack
# must-not = "run code while its error is reported and be taken for an answer"
# allowed = ["error"]
# stopped-by = "runner"
# ///
import os


class Hostile(BaseException):
    def __str__(self):
        os._exit(0)


def attack():
    raise Hostile
