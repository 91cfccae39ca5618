"""Makes forgeries: for each kind of them, wrong programs in many shapes, and the tests that each wants to pass."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from tests.sandbox.forged import STYLES, Forged, called, in_style, printed, scripted
from tests.sandbox.forged_answers import files, javascript, values
from tests.sandbox.hollow_forgeries import hollow

COUNT = 24


def variants(kind: str, count: int | None = COUNT, seed: int = 0) -> list[Forged]:
    """Make so many different forgeries of a kind, their scripts in all styles by turns; all of them for None."""
    found = list(KINDS[kind]())
    chosen = found if count is None else random.Random(seed).sample(found, min(count, len(found)))
    assert len({one.name for one in chosen}) >= min(len(chosen), 20)
    return [in_style(one, style) for one, style in zip(chosen, itertools.cycle(STYLES))]


def infinities() -> Iterator[Forged]:
    """(a) Where an infinity is expected, or a NaN, another number is given."""
    shapes = ("{}", "[{}]", "(1, {})", "{{'a': {}}}", "[[1.5, {}], 2]", "({},) * 2", "{{1: [{}]}}")
    pairs = (
        ("1e999", "7"),
        ("1e999", "-1e999"),
        ("-1e999", "12345.5"),
        ("1e999", "1e308"),
        ("1e999", "1e999 - 1e999"),
        ("1e999", "1e999j"),
    )
    for shape, (expected, wrong) in itertools.product(shapes, pairs):
        literal = shape.format(expected)
        if "* 2" in literal:
            literal = f"({expected}, {expected})"
        yield called(f"{shape} {expected} {wrong}", literal, "close", shape.format(wrong))
    for expected, wrong in (("inf", "7"), ("-inf", "inf"), ("1e999", "1e998"), ("9" * 5000, "8" * 5000)):
        yield printed(f"printed {expected[:9]}", expected, "close", wrong)


#: An object that agrees with whatever a test computes with it.
LIAR = """
class Liar:
    def _zero(self, *given):
        return 0.0

    def _yes(self, *given):
        return True

    def _self(self, *given):
        return self

    __sub__ = __rsub__ = __mod__ = __rmod__ = __abs__ = __float__ = __neg__ = _zero
    __floordiv__ = __pow__ = __rpow__ = __truediv__ = __round__ = _zero
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = __eq__ = _yes
    startswith = endswith = issubset = isdisjoint = isclose = _yes
    __getitem__ = __call__ = __add__ = __radd__ = __mul__ = __rmul__ = _self
    __hash__ = None

    def __len__(self):
        return 2

    def __iter__(self):
        return iter((self, self))
"""

# What a test asks of an answer, which a liar answers at will; the answer of the reference is 12.5.
_ASKED = (
    "abs({} - 12.5) < 0.01",
    "12.4 < {} < 12.6",
    "abs(12.5 - {}) <= 1e-6",
    "{} >= 12.5 and {} <= 12.5",
    "abs(({} - 2.5) // 10 - 1) < 0.5",
    "({} - 12.5) % 7 == 0",
    "{} in (12.5,) or abs({} - 12.5) == 0",
)
_CLASSES = """
class Kind:
    def __init__(self, *parts, **options):
        self.parts, self.options = parts, options
    def answer(self, *given):
        return {answer}
    def __enter__(self):
        return self
    def __exit__(self, *error):
        return {swallows}
    @property
    def value(self):
        return {answer}

class Part:
    def __init__(self, *given):
        self.given = given
    {part}

class Special(Part):
    pass

def made(*given):
    return Kind(*given)

def closed(*given):
    def inner(*more):
        return {answer}
    return inner

def stream():
    for _ in range(3):
        yield {item}

def plain(*given):
    return {answer}

PARTS = [Part(), Part()]
"""
# Where a test takes objects from that it does not look at, and so how many it may be answered with.
_SHAPES = (
    "x = Kind(Part(), 2).answer()\nassert {}",
    "kind = Kind(format=Part())\nx = kind.answer()\nassert {}",
    "x = Kind(0, 0).answer(Kind(3, 4))\nassert {}",
    "spare = [Part() for _ in range(5)]\nx = plain()\nassert {}",
    "spare = Special(1)\nx = made(spare).answer()\nassert {}",
    "x = closed(Part())()\nassert {}",
    "spare = list(stream())\nx = plain(*spare)\nassert {}",
    "def use(given, kind=Kind(Part())):\n    return kind.answer(given)\nx = use(Part())\nassert {}",
    "kind = Kind(Part())\nx = kind.value\nassert {}",
    "with Kind(Part()) as kind:\n    x = kind.answer()\n    assert {}",
    "spare = {{'a': Part(), 'b': [Part()]}}\nx = plain(spare['a'])\nassert {}",
    "assert len(PARTS) == 2\nx = plain(PARTS[0])\nassert {}",
    "import unittest\nclass Tests(unittest.TestCase):\n    def setUp(self):\n"
    "        self.spare, self.kind = Part(), Kind()\n"
    "    def test(self):\n        x = self.kind.answer()\n        self.assertTrue({})\n"
    "unittest.TestSuite([Tests('test')]).debug()",
    "import copy\nkind = copy.deepcopy(Kind(Part()))\nx = kind.answer()\nassert {}",
)
_RIGHT = {"answer": "12.5", "swallows": "None", "part": "pass", "item": "Part()"}
_LIES = {"answer": "Liar()", "swallows": "True", "part": "pass", "item": "0"}


def objects() -> Iterator[Forged]:
    """(b) The answer is an object that lies, where other objects that the reference needs are data instead."""
    exports = "Kind Part Special made closed stream plain PARTS"
    reference = _CLASSES.format(**_RIGHT)
    for (number, shape), asked in itertools.product(enumerate(_SHAPES), _ASKED):
        script = shape.format(asked.replace("{}", "x"))
        wrong = LIAR + _CLASSES.format(**_LIES)
        fewer = wrong + "\n\ndef Part(*given):\n    return 0\n\ndef Special(*given):\n    return 0\n"
        for how, source in (("objects", wrong), ("fewer objects", fewer)):
            yield scripted(f"{how} {number} {asked}", exports, script, reference, source)
    # Nothing of a block that the solution ends may be swallowed, nor what a test's own function asserts.
    swallow = _CLASSES.format(**_LIES | {"answer": "3.0"})
    for asked in _ASKED:
        name, script = f"block {asked}", _SHAPES[9].format(asked.replace("{}", "x"))
        yield scripted(name, exports, script, reference, swallow)
    called = "def look(x):\n    assert x == 12.5\n    return x\nassert run(look) is None"
    yield scripted(
        "swallows",
        "run",
        called,
        "def run(look):\n    look(12.5)\n",
        "def run(look):\n    try:\n        look(3)\n    except BaseException:\n        pass\n",
    )
    inflated = "def seen(x):\n    assert x > 0\nfor x in run(seen):\n    assert x == 12.5"
    yield scripted(
        "inflates",
        "run",
        inflated,
        "def run(seen):\n    seen(1)\n    return [12.5] * 3\n",
        "def run(seen):\n    for _ in range(9):\n        seen(1)\n    return []\n",
    )
    unsorted = (
        "found = run([3, 1, 2])\nassert sorted(found) == [1, 2, 3]\nassert all(a <= b for a, b in zip(found, "
        "list(found)[1:]))"
    )
    twice = (
        "class Twice:\n    calls = 0\n    def __iter__(self):\n        Twice.calls += 1\n"
        "        return iter([3, 1, 2] if Twice.calls == 1 else [0])\ndef run(numbers):\n    return Twice()\n"
    )
    yield scripted("another time", "run", unsorted, "def run(numbers):\n    return sorted(numbers)\n", twice)
    pair = "assert made(1, 2) == Pair(1, 2)"
    right = "from dataclasses import dataclass\n@dataclass\nclass Pair:\n    a: int\n    b: int\nmade = Pair\n"
    lies = "class Pair:\n    def __init__(self, *given):\n        pass\n"
    lies += "    def __eq__(self, other):\n        return True\n"
    yield scripted("equal", "Pair made", pair, right, f"{lies}made = Pair\n")
    empty = f"from dataclasses import dataclass\n@dataclass(init=False)\n{lies}made = Pair\n"
    yield scripted("equal data class", "Pair made", pair, right, empty)
    alone = "class Alone:\n    pass\nALONE = Alone()\ndef made(*given):\n    return ALONE\nPair = made\n"
    yield scripted("one for all", "Pair made", pair, right, alone)


def constants() -> Iterator[Forged]:
    """(c) What the reference exports as plain data is an object that lies."""
    right = "EPS = 1e-3\nclass Config:\n    EPS = 1e-3\nLIMITS = (1e-3, 1)\nTABLE = {'eps': 1e-3}\n"
    right += "def eps(value=1e-3):\n    return value\n\ndef f(x):\n    return x / 3\n"
    lies = LIAR + "EPS = Liar()\nclass Config:\n    EPS = EPS\nLIMITS = (EPS, 1)\nTABLE = {'eps': EPS}\n"
    lies += "def eps(value=None):\n    return EPS\n\ndef f(x):\n    return 7.0\n"
    subclass = lies.replace("EPS = Liar()", "class Small(Liar, Exception):\n    pass\nEPS = Small()", 1)
    everything = lies.replace("LIMITS = (EPS, 1)", "LIMITS = EPS").replace("TABLE = {'eps': EPS}", "TABLE = EPS")
    where = ("EPS", "Config.EPS", "LIMITS[0]", "TABLE['eps']", "eps()")
    asked = ("abs(f(1) - 1 / 3) < {}", "{} > abs(f(1) - 1 / 3)", "not {} <= abs(f(2) - 2 / 3)")
    for place, question, (how, source) in itertools.product(
        where, asked, (("object", lies), ("subclass", subclass), ("all of it", everything))
    ):
        script = f"assert {question.format(place)}"
        yield scripted(f"{how} {script}", "EPS Config LIMITS TABLE eps f", script, right, source)
    # Plain data lies as well: a bound that everything is within.
    for place, question, bound in itertools.product(
        ("EPS", "LIMITS[0]", "TABLE['eps']"), asked, ("float('inf')", "1e300", "10 ** 400", "7", "float('nan')")
    ):
        script = f"assert {question.format(place)}"
        source = f"EPS = {bound}\nLIMITS = (EPS, 1)\nTABLE = {{'eps': EPS}}\ndef f(x):\n    return 7.0\n"
        yield scripted(f"{bound} {script}", "EPS LIMITS TABLE f", script, right, source)


_TAKES_OVER = "type('Agrees', (int,), {'__eq__': lambda *_: True, '__hash__': None})(0)"
_EVALUATED = (
    "x = eval(f())",
    "import builtins\nx = builtins.eval(f())",
    "evaluate = eval\nx = evaluate(f())",
    "x = getattr(__builtins__, 'ev' + 'al', None) or __builtins__['ev' + 'al']\nx = x(f())",
    "names = {}\nexec('x = ' + f(), names)\nx = names['x']",
    "x = eval(compile(f(), 'answer', 'eval'))",
    "(x,) = map(eval, [f()])",
    "x = next(eval(text) for text in [f()])",
    "import functools\nx = functools.partial(eval)(f())",
    "def read(text, how=eval):\n    return how(text)\nx = read(f())",
    "class Reader:\n    read = staticmethod(eval)\nx = Reader.read(f())",
    "class Reader(dict):\n    def __missing__(self, key):\n        return eval(key)\nx = Reader()[f()]",
    "import threading\nx = []\none = threading.Thread(target=lambda: x.append(eval(f())))\n"
    "one.start()\none.join()\n(x,) = x",
    "x = (lambda text: eval(text))(f())",
    "x = eval(f'({f()})')",
    "x = {'value': eval}['value'](f())",
    "import operator\nx = operator.methodcaller('__call__', f())(eval)",
    "import timeit\nx = []\ntimeit.timeit('x.append(' + f() + ')', number=1, globals={'x': x})\n(x,) = x",
    "import ast\nx = eval(compile(ast.parse(f(), mode='eval'), 'answer', 'eval'))",
    "import code\nnames = {}\ncode.InteractiveInterpreter(names).runsource('x = ' + f())\nx = names['x']",
    "import typing\nx = []\nexec(f'x.append({f()})')\n(x,) = x",
    "import sys\nx = sys.modules['builtins'].eval(f())",
)
_PICKLED = (
    "import pickle\nx = pickle.loads(g())",
    "import pickle, io\nx = pickle.load(io.BytesIO(g()))",
    "from pickle import Unpickler\nimport io\nx = Unpickler(io.BytesIO(g())).load()",
    "import marshal, types\nx = types.FunctionType(marshal.loads(h()), {})()",
)


def evaluated() -> Iterator[Forged]:
    """(d) The test evaluates, executes or unpickles an answer, which takes over the process of the tests."""
    head = "import marshal, pickle\ndef run():\n    return {run}\n"
    text = "def f():\n    return {text!r}\n"
    rest = "def g():\n    return {pickled}\ndef h():\n    return marshal.dumps(run.__code__)\n"
    whole = head + text + rest
    right = whole.format(run="5", text="5", pickled="pickle.dumps(5)")
    lies = whole.format(
        run=_TAKES_OVER.replace("lambda *_: True", "(lambda *_: True)"),
        text=_TAKES_OVER,
        pickled='b"cbuiltins\\neval\\n(V" + f().encode() + b"\\ntR."',
    )
    for read in (*_EVALUATED, *_PICKLED):
        plain = "pickle" in read  # of the reference nothing is run
        yield scripted(read, "f g h", f"{read}\nassert x == 5", right, lies, refused=not plain)


_CHANGED = (
    ("sorted(x)", "sorted(given)", "[]"),
    ("sum(x)", "sum(given)", "0"),
    ("len(x)", "len(given)", "0"),
    ("list(reversed(x))", "list(reversed(given))", "[]"),
    ("set(x)", "set(given)", "set()"),
    ("max(x, default=None)", "max(given, default=None)", "None"),
    ("[i * i for i in x]", "[i * i for i in given]", "[]"),
)
_HELD = (
    "x = [3, 1, 2]\nassert f(x) == {}",
    "x = [3, 1, 2]\nassert f(given=x) == {}",
    "x = {{3, 1, 2}}\nassert f(x) == {}".replace("reversed(x)", "reversed(list(x))"),
    "x = {{3: 0, 1: 0, 2: 0}}\nassert f(x) == {}",
    "class Held:\n    x = [3, 1, 2]\nassert f(Held.x) == (lambda x: {})(Held.x)",
    "def test(x=[3, 1, 2]):\n    assert f(x) == {}\ntest()",
    "def outer():\n    x = [3, 1, 2]\n    def inner():\n        assert f(x) == {}\n    inner()\nouter()",
    "class Mine(list):\n    pass\nx = Mine([3, 1, 2])\nassert f(x) == {}",
    "for x in ([3, 1, 2], [5, 4]):\n    assert f(x) == {}",
    "held = {{'x': [3, 1, 2]}}\nassert f(held['x']) == (lambda x: {})(held['x'])",
    "import unittest\nclass Tests(unittest.TestCase):\n    def setUp(self):\n        self.x = [3, 1, 2]\n"
    "    def test(self):\n        self.assertEqual(f(self.x), (lambda x: {})(self.x))\n"
    "unittest.TestSuite([Tests('test')]).debug()",
    "from collections import deque\nx = deque([3, 1, 2])\nassert f(x) == {}",
    "x = bytearray(b'abc')\nassert f(x) == {}",
)


def mutations() -> Iterator[Forged]:
    """(e) The solution empties its argument, so that what the test compares with is empty too."""
    for (number, held), (asked, right, wrong) in itertools.product(enumerate(_HELD), _CHANGED):
        if number in (2, 3) and "reversed" in asked:
            continue
        script = held.format(asked)
        reference = f"def f(given):\n    return {right}\n"
        for how in ("given.clear()", "del given[:]", "given.__init__()"):
            if how == "del given[:]" and number in (2, 3, 11):
                continue
            source = f"def f(given):\n    {how}\n    return {wrong}\n"
            yield scripted(f"{number} {asked} {how}", "f", script, reference, source)
        if number == 0:
            for how in ("given.clear()", "given[:] = []"):
                source = f"def f(given):\n    {how}\n    return {wrong}\n"
                name, script = f"set up {asked} {how}", f"assert f(x) == {asked}"
                yield scripted(name, "f", script, reference, source, setup="x = [3, 1, 2]\n")
    kept = "x = [3, 1, 2]\nassert f(x) == [1, 2, 3]\nassert x == [3, 1, 2]"
    yield scripted(
        "changes what it must not",
        "f",
        kept,
        "def f(given):\n    return sorted(given)\n",
        "def f(given):\n    given.sort()\n    return given\n",
    )


def slack() -> Iterator[Forged]:
    """(f) Comparisons that take one thing for another: whole numbers, items of sets, truth."""
    for expected in (1000000007, 998244353, 10**12, 10**15 + 1, 2**60 + 1):
        for apart in (1, 93, expected // 20_000_000):
            wrong = expected - apart
            for comparison in ("close", "contest"):
                yield printed(f"{comparison} {expected} {wrong}", str(expected), comparison, str(wrong))
                yield printed(f"{comparison} {expected} {wrong}.5", str(expected), comparison, f"{wrong}.5")
            yield called(f"value {expected} {wrong}", str(expected), "close", f"{wrong}.5")
            yield called(f"in a list {expected} {wrong}", f"[{expected}]", "close", f"[float({wrong - 500})]")
    for expected, wrong in (
        ("[[1]]", "['[1]']"),
        ("[{'a': 1}]", "[\"{'a': 1}\"]"),
        ("[[1], 2]", "['[1]', 2]"),
        ("[{1}]", "['{1}']"),
        ("[[1]]", "[(1,)]"),
        ("[[[1]]]", "[['[1]']]"),
    ):
        yield called(f"set {expected} {wrong}", expected, "as_set", wrong)
    for expected, wrong in (("True", "1"), ("False", "0"), ("True", "1.0"), ("False", "0.0")):
        yield called(f"is {expected} {wrong}", expected, "identical", wrong)
        script = f"assert f() is {expected}"
        reference, source = f"def f():\n    return {expected}\n", f"def f():\n    return {wrong}\n"
        yield scripted(f"{script} {wrong}", "f", script, reference, source)


# What a test loops over with answers in it, all of which have to be right: f(x) is x + 1.
_LOOPS = (
    "assert all(map({}, [1, 2]))",
    "assert not list(filter(lambda x: not {}(x), [1, 2]))",
    "assert not any(map(lambda x: not {}(x), [1, 2]))",
    "assert next(filter(None, map(lambda x: not {}(x), [1, 2])), None) is None",
    "import itertools\nassert all(itertools.starmap({}, [(1,), (2,)]))",
    "import itertools\nassert not list(itertools.filterfalse({}, [1, 2]))",
    "assert set(map({}, [1, 2])) <= {{True}}",
    "for right in map({}, [1, 2]):\n    assert right\nassert True",
)
_AGAIN = (
    "assert set(x) <= set(range(10))\nassert all(a <= b for a, b in zip(x, list(x)[1:]))",
    "assert len(set(x)) == 3\nassert all(a % 2 == 0 for a in x)",
    "assert 3 not in x\nassert 9 not in x",
    "assert 4 in x\nassert 9 not in x",
    "assert any(a == 4 for a in x)\nassert not [a for a in x if a > 6]",
    "assert max(x) < 10\nassert sum(a for a in x if a % 2) == 0",
)


# Where the language takes an exception for the end of a loop, or for nothing being there.
_SWALLOWING = (
    "class Cases:\n    def __getitem__(self, i):\n        return (i < 2 or ()[0]) and {f}(i) == i + 1\n"
    "assert all(Cases())",
    "class Cases:\n    def __getitem__(self, i):\n        return (i < 2 or ()[0]) and {f}(i) - i\n"
    "assert set(Cases()) <= {{1}}",
    "class Cases:\n    def __getitem__(self, i):\n        return (i < 2 or ()[0]) and {f}(i) == i + 1\n"
    "assert False not in Cases()",
    "class Case:\n    @property\n    def wrong(self):\n        return {f}(1) != 2\n"
    "assert not getattr(Case(), 'wrong', False)",
    "class Case:\n    @property\n    def wrong(self):\n        return {f}(1) == 2 or 1 / 0\n"
    "hasattr(Case(), 'wrong')\nassert True",
    "from collections.abc import Mapping\nclass Cases(Mapping):\n    __iter__ = __len__ = None\n"
    "    def __getitem__(self, x):\n        return {f}(x) != x + 1\nassert not Cases().get(1)",
    "from string import Template\nclass Cases:\n    def __getitem__(self, name):\n"
    "        return {f}(1) == 2\nassert Template('$x').safe_substitute(Cases()) != 'False'",
    "import threading\ndef check():\n    assert {f}(1) == 2\n"
    "one = threading.Thread(target=check)\none.start()\none.join()\nassert True",
    "class Case:\n    def __del__(self):\n        assert {f}(1) == 2\nCase()\nassert True",
)
# What a thread or a finalizer of the test raises goes nowhere, whatever it is.
_UNHEARD = (7, 8)
_IGNORED = ("IndexError", "KeyError", "AttributeError", "LookupError", "StopIteration", "SystemExit")


def swallowed() -> Iterator[Forged]:
    """Raise what the test's own protocols swallow, where the reference answers."""
    right = "def f(x):\n    return x + 1\nclass Kind:\n    f = staticmethod(f)\n"
    for (number, script), asked, error in itertools.product(enumerate(_SWALLOWING), ("f", "Kind().f"), _IGNORED):
        for way in (f"raise {error}", f"raise type('Own', ({error},), {{}})(x)"):
            source = f"def f(x):\n    {way}\nclass Kind:\n    f = staticmethod(f)\n"
            yield scripted(f"{number} {asked} {way}", "f Kind", script.format(f=asked), right, source)
    for number, way in itertools.product(
        _UNHEARD, ("raise ValueError", "assert False", "return 7", "return 1 / 0")
    ):
        source = f"def f(x):\n    {way}\n"
        yield scripted(f"{number} {way}", "f", _SWALLOWING[number].format(f="f"), right, source)
    taken = "items = f()\nassert all(map(lambda x: next(items) == x, [1, 2, 3]))"
    for way in ("iter(())", "(x for x in ())", "map(int, '1')"):
        yield scripted(
            f"taken {way}", "f", taken, "def f():\n    yield from (1, 2, 3)\n", f"def f():\n    return {way}\n"
        )


_OWN = "class Asked:\n    def __getitem__(self, i):\n        if i == 3:\n            raise IndexError\n"
_OWN_LOOPS = (
    f"{_OWN}        return f(i)[0]\nfor i, x in enumerate(Asked()):\n    if x != i + 1:\n"
    "        raise ValueError\nassert True",
    f"{_OWN}        return f(i)[0] == i + 1\nassert all(Asked())",
    f"{_OWN}        return f(i)[0] == i + 1\nassert False not in Asked()",
    f"{_OWN}        return f(i)[0] - i - 1\nassert not any(list(Asked()))",
    "from collections.abc import Mapping\nclass Asked(Mapping):\n    def __getitem__(self, i):\n"
    "        if i == 3:\n            raise KeyError\n        return f(i)[0] == i + 1\n"
    "    def __iter__(self): return iter(())\n    def __len__(self): return 0\n"
    "assert Asked().get(1, True) and 3 not in Asked()",
    "class Asked:\n    def __getattr__(self, name):\n        if name == 'z':\n            raise AttributeError\n"
    "        return f(1).pop() == 2\nassert getattr(Asked(), 'x', True) and not hasattr(Asked(), 'z')",
)


def loops() -> Iterator[Forged]:
    """End the loop that an answer is asked for in, or answer with items that are there only once."""
    right = "def f(x):\n    return x + 1\nclass Kind:\n    f = staticmethod(f)\n"
    ways = ("raise StopIteration", "next(iter(()))", "raise type('Ends', (StopIteration,), {})(True)")
    for loop, asked, way in itertools.product(_LOOPS, ("f", "Kind().f"), ways):
        script = loop.format(f"(lambda x: {asked}(x) == x + 1)")
        source = f"def f(x):\n    {way}\nclass Kind:\n    f = staticmethod(f)\n"
        yield scripted(f"{way} {script}", "f Kind", script, right, source)
    for loop, way in itertools.product(_LOOPS, ("[]", "''", "{}", "iter(())", "(a for a in ())", "map(int, [])")):
        script = loop.format("(lambda x: next(iter(f(x))) == x + 1)")
        source = f"def f(x):\n    return {way}\n"
        yield scripted(f"{way} next {script}", "f", script, "def f(x):\n    return [x + 1]\n", source)
    for script, way in itertools.product(_OWN_LOOPS, ("[]", "()", "{}", "None")):
        if ("IndexError" in script) is (way in ("[]", "()")) and (way == "None") is ("pop" in script):
            source = f"def f(x):\n    return {way}\n"
            yield scripted(f"{way} {script}", "f", script, "def f(x):\n    return [x + 1]\n", source)
    for again, way in itertools.product(_AGAIN, ("iter({})", "(a for a in {})", "map(int, {})")):
        source = f"def f():\n    return {way.format('[9, 5, 4]')}\n"
        yield scripted(f"{way} {again}", "f", f"x = f()\n{again}", "def f():\n    return [2, 4, 6]\n", source)


KINDS: dict[str, Callable[[], Iterator[Forged]]] = {
    "infinities": infinities,
    "objects": objects,
    "constants": constants,
    "evaluated": evaluated,
    "mutations": mutations,
    "loops": loops,
    "swallowed": swallowed,
    "slack": slack,
    "values": values,
    "files": files,
    "javascript": javascript,
    "hollow": hollow,
}
