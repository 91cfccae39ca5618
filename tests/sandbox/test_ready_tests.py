"""Counted tests mean what they meant, and count what they reach."""

from __future__ import annotations

import itertools
import unittest

import pytest

from sandbox.inside import protocol
from sandbox.ready_tests import compiled_call, compiled_tests, counted_source


def run(source: str) -> int:
    counts, noted = [], []
    for ready in (compiled_tests(source, "test.py"), counted_source(source)):
        count = itertools.count()
        namespace = {protocol.COUNT: lambda count=count: next(count) and None, "unittest": unittest}
        namespace |= {protocol.NOTE: noted.append, protocol.FALSE: lambda: None}
        exec(ready, namespace)
        counts.append(next(count))
    assert counts[0] == counts[1]
    assert len(noted) == 2 * source.count("def __getitem__")
    return counts[0]


@pytest.mark.parametrize(
    ("source", "checks"),
    [
        ("assert True", 1),
        ("assert 1 == 1, 'message'", 1),
        ("if False:\n    assert True", 0),
        ("for i in range(5):\n    assert i < 5", 5),
        ("def check(f):\n    assert f(1) == 2\n    assert f(2) == 3\ncheck(lambda x: x + 1)", 2),
        ("t = unittest.TestCase()\nt.assertEqual(1, 1)\nwith t.assertRaises(ValueError):\n    int('x')", 2),
        ("class T(unittest.TestCase):\n    def test(self):\n        assert 1\nT('test').debug()", 1),
        ("assert (lambda: [x for x in (1, 2)])() == [1, 2]", 1),
        (
            "class A:\n    def __getitem__(self, i): assert i\n    def get(self): pass\nassert A",
            1,
        ),
        ("'''doc'''\nx = f'{1!r:>5}'\nassert x == '    1'", 1),
    ],
)
def test_counts(source: str, checks: int) -> None:
    assert run(source) == checks


def test_a_check_that_does_not_hold_still_fails() -> None:
    with pytest.raises(AssertionError, match="why"):
        run("assert 1 == 2, 'why'")
    with pytest.raises(AssertionError):
        run("unittest.TestCase().assertEqual(1, 2)")


@pytest.mark.parametrize("source", ["def f(:", "x = '\0'", "(" * 500])
def test_what_does_not_parse_is_left_alone(source: str) -> None:
    assert compiled_tests(source, "test.py") == counted_source(source) == source
    assert compiled_call(source) == source
