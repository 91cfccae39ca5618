"""Forgeries that have nothing in them: what a test asks of an empty answer, or of a NaN, is true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.sandbox.forged import Forged, scripted

_LIST = "def f(x):\n    return [x, x + 1, x + 2]\n"
_ASKED = (
    "assert all(a == b for a, b in zip(f(1), [1, 2, 3]))",
    "assert not [a for a, b in zip(f(1), [1, 2, 3]) if a != b]",
    "assert all(v in (1, 2, 3) for v in f(1))",
    "assert not any(v > 3 for v in f(1))",
    "assert set(f(1)) <= {1, 2, 3}",
    "assert max(f(1), default=3) == 3",
    "assert ''.join(map(str, f(1))) in '123'",
    "import math\nassert all(map(math.isclose, f(1), [1, 2, 3]))",
    "from collections import Counter\nassert not Counter(f(1)) - Counter([1, 2, 3])",
    "assert all(map(lambda x: iter(f(x)).__next__() == x, range(3)))",
)
_NOTHING = (
    "[]",
    "()",
    "{}",
    "__import__('collections').deque()",
    "''",
    "set()",
    "iter(())",
    "(v for v in ())",
    "map(int, [])",
    "range(0)",
    "{}.values()",
    "{}.keys()",
)
_TEXT = (
    "assert 'abc'.startswith(f('abc'))",
    "assert f('abc') in 'abc'",
    "import re\nassert re.search(f('a'), 'bab')",
    "assert 'abc'.endswith(f('bc')) or f('bc') == 'bc'",
)
_NUMBERS = (
    "assert not abs(f(1) - 1 / 3) > 1e-6",
    "assert not (f(1) < 0 or f(1) > 1)",
    "if f(1) > 0.34 or f(1) < 0.33:\n    raise ValueError\nassert True",
    "assert not max(0.0, f(1) - 1 / 3) > 1e-6",
)
_IN_PLACE = (
    "x = [3, 1, 2]\nf(x)\nassert x == sorted(x)",
    "x = [3, 1, 2]\nf(x)\nassert not any(a > b for a, b in zip(x, x[1:]))",
    "x = [3, 1, 2]\nf(given=x)\nassert all(a in (1, 2, 3) for a in x)",
)
_LOST = (
    "from concurrent.futures import ThreadPoolExecutor\ndef check(x):\n    assert f(x) == [x, x + 1, x + 2]\n"
    "with ThreadPoolExecutor(2) as pool:\n    pool.{}\nassert f",
    "import asyncio\nasync def check(x):\n    assert f(x) == [x, x + 1, x + 2]\n"
    "async def main():\n    {}\n    await asyncio.sleep(0)\nasyncio.run(main())\nassert f",
)
_WAYS = (
    ("submit(check, 1)", "map(check, range(3))", "submit(check, x=2)"),
    (
        "asyncio.ensure_future(check(1))",
        "await asyncio.gather(check(1), check(2), return_exceptions=True)",
        "await asyncio.wait([asyncio.create_task(check(1))])",
    ),
)


def hollow() -> Iterator[Forged]:
    """Answer with what is empty or no number, or where nobody hears that it is wrong."""
    for script, nothing in itertools.product(_ASKED, _NOTHING):
        if not ("map(str" in script and nothing == "''"):
            yield scripted(f"{nothing} {script}", "f", script, _LIST, f"def f(x):\n    return {nothing}\n")
    for script, nothing in itertools.product(_TEXT, ("''", "str()", "x[:0]")):
        source = f"def f(x):\n    return {nothing}\n"
        yield scripted(f"{nothing} {script}", "f", script, "def f(x):\n    return x\n", source)
    for script, nan in itertools.product(_NUMBERS, ("float('nan')", "x * 1e999 * 0", "-float('nan')")):
        source = f"def f(x):\n    return {nan}\n"
        yield scripted(f"{nan} {script}", "f", script, "def f(x):\n    return x / 3\n", source)
    for script, way in itertools.product(_IN_PLACE, ("given.clear()", "del given[:]", "given[:] = ()")):
        source = f"def f(given):\n    {way}\n"
        yield scripted(f"{way} {script}", "f", script, "def f(given):\n    given.sort()\n", source)
    for script, ways in zip(_LOST, _WAYS, strict=True):
        for way in ways:
            yield scripted(f"lost {way}", "f", script.format(way), _LIST, "def f(x):\n    return 0\n")
    own = "class Bad(ValueError): pass\ndef f(x): raise Bad(x)\n"
    for broad in ("Exception", "BaseException"):
        script = "try:\n    f(-1)\nexcept Bad:\n    assert True\nelse:\n    assert False"
        yield scripted(f"Bad is {broad}", "f Bad", script, own, f"Bad = {broad}\ndef f(x): raise KeyError(x)\n")
