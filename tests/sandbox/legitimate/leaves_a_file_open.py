# /// program
# prints = "first\nsecond True"
# ///
import sys
import typing


class Writer:
    def __init__(self, file):
        self.file = file

    def write(self, text):
        self.file.write(text)

    def flush(self):
        self.file.flush()


class Last:
    def __del__(self):
        print("second", typing is not None)


sys.stdout = Writer(sys.stdout)
last = Last()
typing.Dict[str, Last]
out = open(1, "w", closefd=False)
out.write("first\n")
out.flush()
