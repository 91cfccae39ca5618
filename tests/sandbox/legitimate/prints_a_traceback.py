# /// program
# prints = "ZeroDivisionError True"
# ///
import traceback

try:
    1 / 0
except ZeroDivisionError as error:
    print(type(error).__name__, "ZeroDivisionError" in traceback.format_exc())
