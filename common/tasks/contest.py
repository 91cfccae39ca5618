"""What the formats of programming contests share: the question, what solutions may rely on, and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.records import Comparison, TestCase
from common.tasks.asserts import UnusableTestError
from common.tasks.literals import MAX_CALL_CHARS, source_of
from common.tasks.source import is_literal_source

# The names of ``builtins`` and ``typing`` come last: ``math.pow`` and ``io.open`` are other functions.
_STARS = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys "
    "json builtins typing"
)
_MODULES = (
    "bisect collections copy datetime functools heapq io itertools json math operator os random re statistics "
    "string sys"
)
#: Runs before a solution: contest sites let them do without imports, and so do the graders of both benchmarks.
PRELUDE = (
    "".join(f"from {module} import *\n" for module in _STARS.split())
    + f"import {', '.join(_MODULES.split())}\n"
    + "sys.setrecursionlimit(50_000)\n"
)
_CLASS = "Solution"
_READS_INPUT = (
    "Write a Python program that reads the input from standard input and prints the answer to standard output. "
    "Answer with the whole program in one fenced block."
)
_HAS_STARTER = (
    "Write the solution in Python, beginning with this code. Answer with the whole code in one fenced block."
)


def question(text: str, starter: str) -> str:
    """Word the question of a problem; ``starter`` is the code that solutions begin with, empty for a program."""
    if not starter.strip():
        return f"{text.strip()}\n\n{_READS_INPUT}\n"
    return f"{text.strip()}\n\n{_HAS_STARTER}\n```python\n{starter.strip()}\n```\n"


def exports_of_call(name: str | None) -> tuple[str, ...]:
    """Return what of a solution the tests of :func:`call_test` may use."""
    return () if name is None else (_CLASS, name)


def call_test(name: str, arguments: Sequence[Any], expected: Any, comparison: Comparison) -> TestCase:
    """Make a test that calls a function, or that method of ``Solution`` in a solution that defines this class.

    Raises UnusableTestError for a call that is too long, and for a value that cannot be written out.
    """
    given, value = ", ".join(map(source_of, arguments)), source_of(expected)
    if len(given) > MAX_CALL_CHARS:
        raise UnusableTestError(f"its call takes {len(given):,} characters, over {MAX_CALL_CHARS:,}")
    if not is_literal_source(value):
        raise UnusableTestError("its expected value has no literal")
    called = f"({_CLASS}().{name} if {_CLASS!r} in globals() else {name})({given})"
    return TestCase(call=called, expected=value, comparison=comparison)


def stdin_test(given: str, expected: str, tolerance: float = 0.0) -> TestCase:
    """Make a test of what a program prints for an input; numbers may be ``tolerance`` apart."""
    return TestCase(kind="stdin", stdin=given, expected=expected, comparison="contest", tolerance=tolerance)
