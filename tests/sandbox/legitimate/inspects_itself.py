# /// program
# prints = "__main__ ['solution.py'] f"
# ///
import inspect
import sys


def f():
    return inspect.currentframe().f_code.co_name


print(__name__, [name.rsplit("/", 1)[-1] for name in sys.argv], f())
