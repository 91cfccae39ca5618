"""Forgeries of what is compared on the host: values of calls, files, what a program in JavaScript prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.sandbox.forged import Forged, called_by, filed, printed_in

# Classes and functions L that make a wrong value look right: to ==, to isinstance, to whoever prints or copies it.
_AGREES = "__eq__ = lambda *_: True\n    __ne__ = lambda *_: False\n    __hash__ = lambda *_: 0\n"
_LIES = {
    "agrees": "class L({base}):\n    " + _AGREES,
    "has every order": "class L({base}):\n    __lt__ = __le__ = __gt__ = __ge__ = lambda *_: True\n    " + _AGREES,
    "says another class": "class L:\n    __init__ = lambda *_: None\n    __class__ = {base}\n    " + _AGREES,
    "has every attribute": (
        "class L:\n    __init__ = lambda *_: None\n    __getattr__ = lambda *_: (lambda *_: True)\n    " + _AGREES
    ),
    "is an instance of all": (
        "class M(type):\n    __instancecheck__ = __subclasscheck__ = lambda *_: True\n"
        "class L({base}, metaclass=M):\n    " + _AGREES
    ),
    "prints the answer": ("class L({base}):\n    __repr__ = __str__ = __format__ = lambda *_: {expected!r}\n"),
    "is copied into the answer": (
        "class L({base}):\n    __reduce__ = __copy__ = lambda *_: (eval, ({expected!r},))\n"
        "    __reduce_ex__ = __deepcopy__ = lambda *_: (eval, ({expected!r},))\n"
    ),
    "replaces the class": "import builtins\nclass L({base}):\n    " + _AGREES + "builtins.{base} = L\n",
    "looks like an array": (
        "class ndarray:\n    __module__ = 'numpy'\n    shape, dtype = (), 'int64'\n"
        "    __init__ = lambda *_: None\n    tolist = item = lambda self: self\n    " + _AGREES + "L = ndarray\n"
    ),
    "is anything": "from unittest.mock import ANY\nL = lambda *_: ANY\n",
    "is a mock": "from unittest.mock import MagicMock\nL = lambda *_: MagicMock(__eq__=lambda *_: True)\n",
    "is an error": "class L(Exception):\n    " + _AGREES,
    "is a generator": "def L(*_):\n    yield 0\n",
    "is a class": "class M(type):\n    " + _AGREES + "class K(metaclass=M):\n    pass\nL = lambda *_: K\n",
    "refuses to be read": "class L({base}):\n    __iter__ = __len__ = __index__ = __float__ = None\n    "
    + _AGREES,
}
_PLAIN = (
    ("5858", "int", "0"),
    ("7.5", "float", "0.0"),
    ("'fig'", "str", "'x'"),
    ("b'fig'", "bytes", "b'x'"),
    ("[1, 2]", "list", "[0]"),
    ("(1, 2)", "tuple", "(0,)"),
    ("{{1, 2}}", "set", "(0,)"),
    ("{{'a': 1}}", "dict", "{{}}"),
)
_SHAPES = ("{}", "[{}]", "({},)", "{{'key': {}}}")
_COMPARISONS = ("equal", "identical", "close", "contest")


def values() -> Iterator[Forged]:
    """Answer a call with an object that takes itself for the right value, alone or in a container."""
    comparisons = itertools.cycle(_COMPARISONS)
    for (how, lie), (literal, base, wrong), shape in itertools.product(_LIES.items(), _PLAIN, _SHAPES):
        expected = literal.replace("{{", "{").replace("}}", "}")
        answer = shape.format(f"L({wrong.replace('{{}}', '{}')})")
        source = f"{lie.format(base=base, expected=expected)}def f():\n    return {answer}\n"
        yield called_by(f"{how} {shape} {expected}", shape.format(expected), next(comparisons), source)


# What stands where a number should: expected and given.
_NUMBERS = (
    ("1000000007", "1000000100"),
    ("998244353", "998244353.5"),
    ("1000000000001", "1000000000000"),
    ("inf", "7"),
    ("-inf", "inf"),
    ("inf", "1e308"),
    ("0.5", "0.51"),
    ("42", "[42]"),
    ("42", "4 2"),
    ("42", "42\n42"),
    ("1 2", "1 3"),
)


def files() -> Iterator[Forged]:
    """Leave a file with other numbers."""
    for comparison, (expected, wrong) in itertools.product(("equal", "close"), _NUMBERS):
        yield filed(f"{comparison} {expected} {wrong}", expected, comparison, wrong)


# Where a program in JavaScript puts what it says.
_PUT = (
    "console.log({wrong})",
    "console.error({right}); console.log({wrong})",
    "process.stdout.write({wrong} + '\\n', () => process.exit(0))",
    "console.log({wrong}); const fs = require('fs');\n"
    "for (let fd = 3; fd < 20; fd++) try {{ fs.writeSync(fd, {right}) }} catch {{}}",
    "console.log({wrong}); process.exitCode = 0; throw Object.assign(new Error({right}), {{code: 0}})",
    "String.prototype.trim = () => {right}; Object.prototype.toString = () => {right}; console.log({wrong})",
)


def javascript() -> Iterator[Forged]:
    """Print other numbers in JavaScript, and the right ones where no judge should look."""
    for put, (expected, wrong) in itertools.product(_PUT, _NUMBERS):
        source = put.format(right=repr(expected), wrong=repr(wrong)) + "\n"
        reference = f"console.log({expected!r})\n"
        yield printed_in("javascript", f"{put} {expected} {wrong}", expected, reference, source)
