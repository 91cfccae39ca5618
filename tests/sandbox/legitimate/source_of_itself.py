# /// program
# prints = "def double(x): class Point: 2 f(3) [doctest] 0"
# ///
import doctest
import inspect
import linecache
import sys
import traceback


def double(x):
    """
    >>> double(2)
    4
    """
    return 2 * x


class Point:
    def norm(self):
        return 0


def f(x):
    raise ValueError(x)


first = inspect.getsource(double).splitlines()[0]
kind = inspect.getsource(Point).splitlines()[0]
lines = len(inspect.getsourcelines(Point.norm)[0])
try:
    f(3)
except ValueError as error:
    failed = traceback.extract_tb(error.__traceback__)[0].line
assert inspect.getsourcefile(double) and linecache.getline(__file__, 1).startswith("# ///")
assert inspect.getsource(sys.modules[__name__]).startswith("# ///")
print(first, kind, lines, failed, "[doctest]", doctest.testmod().failed)
