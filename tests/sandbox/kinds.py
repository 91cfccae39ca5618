"""One task for every kind of test, each with a right solution: what the forgeries try to pass."""

from __future__ import annotations

import re
import textwrap

from common.records import Task, TestCase

SOLUTION = """
def total(numbers):
    return sum(numbers)


def mean(numbers):
    return sum(numbers) / len(numbers)


def words(text):
    return text.split()


def greet(name):
    return f"Hello, {name}!"


def is_even(number):
    return number % 2 == 0


def grow(numbers):
    numbers.append(sum(numbers))


def fail(number):
    if number < 0:
        raise ValueError("negative")
    return number


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()

    def __len__(self):
        return len(self.items)

    def __contains__(self, item):
        return item in self.items


def make_stack():
    return Stack()


if __name__ == "__main__":
    print(sum(map(int, input().split())))
"""

NAMES = ("total", "mean", "words", "greet", "is_even", "grow", "fail", "Stack", "make_stack")

_UNITTEST = """
import math
import unittest

class TestCases(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total([4711, 1147]), 5858)

    def test_mean(self):
        self.assertAlmostEqual(mean([7, 8]), 7.5)

    def test_delta(self):
        self.assertAlmostEqual(mean([7, 8]), 7.5, delta=0.01)

    def test_close(self):
        self.assertTrue(math.isclose(mean([7, 8]), 7.5))

    def test_words(self):
        self.assertIn("pear", words("fig pear"))

    def test_list(self):
        self.assertListEqual(words("fig pear"), ["fig", "pear"])

    def test_count(self):
        self.assertCountEqual(words("fig pear"), ["pear", "fig"])

    def test_type(self):
        self.assertIsInstance(words("fig pear"), list)
        self.assertEqual(len(words("fig pear plum")), 3)

    def test_order(self):
        self.assertGreater(mean([7, 8]), 7.4)
        self.assertLess(mean([7, 8]), 7.6)

    def test_regex(self):
        self.assertRegex(greet("Ann"), "^Hello, Ann")
"""

_CHECK = """
def check(candidate):
    assert candidate([4711, 1147]) == 5858
    assert candidate([1000, 2000, 4000]) == 7000
    assert candidate([]) == 0
"""


def _task(kind: str, *tests: TestCase, setup: str = "", exports: tuple[str, ...] = ()) -> tuple[str, Task]:
    return kind, Task(id=kind, prompt=kind, tests=tests, test_setup=setup, exports=exports, reference=SOLUTION)


def _script(source: str) -> TestCase:
    return TestCase(kind="script", script=textwrap.dedent(source).strip())


def _scripts(kind: str, *sources: str, setup: str = "") -> tuple[str, Task]:
    exports = tuple(name for name in NAMES if any(re.search(rf"\b{name}\b", text) for text in (*sources, setup)))
    return _task(kind, *map(_script, sources), setup=setup, exports=exports)


_METHODS = [line.split("def ")[1].split("(")[0] for line in _UNITTEST.splitlines() if "def test_" in line]

TASKS: dict[str, Task] = dict(
    [
        _task(
            "stdin",
            TestCase(kind="stdin", stdin="4711 1147\n", expected="5858"),
            TestCase(kind="stdin", stdin="1000 2000\n", expected="3000\n"),
        ),
        _task(
            "call",
            TestCase(call="total([4711, 1147])", expected="5858"),
            TestCase(call="total([1000, 2000, 4000])", expected="7000"),
            TestCase(call="words('fig pear')", expected="['fig', 'pear']"),
        ),
        _task(
            "reference",
            TestCase(call="total([4711, 1147])"),
            TestCase(call="mean([7, 8])", comparison="close", tolerance=1e-6),
            TestCase(call="words('fig pear')", comparison="as_set"),
            TestCase(kind="stdin", stdin="4711 1147\n"),
        ),
        _scripts(
            "assert",
            "assert total([4711, 1147]) == 5858",
            "result = total([1000, 2000, 4000])\nassert result == 7000, 'wrong'",
            "assert words('fig pear') == ['fig', 'pear']",
            "for numbers, wanted in (([4711], 4711), ([1147, 5000], 6147)):\n    assert total(numbers) == wanted",
        ),
        _scripts(
            "close", "assert abs(mean([7, 8]) - 7.5) < 1e-6", "import math\nassert math.isclose(mean([7, 8]), 7.5)"
        ),
        _scripts(
            "between", "assert 7.4 < mean([7, 8]) < 7.6", "assert mean([7, 8]) >= 7.5 and mean([7, 8]) <= 7.5"
        ),
        _scripts(
            "contains",
            "assert 'pear' in words('fig pear')",
            "assert set(words('fig pear')) == {'fig', 'pear'}",
            "assert sorted(words('pear fig')) == ['fig', 'pear']",
            "assert all(word in words('fig pear') for word in ('fig', 'pear'))",
            "assert len(words('fig pear plum')) == 3 and words('fig pear plum')[1] == 'pear'",
        ),
        _scripts(
            "method",
            "assert greet('Ann').startswith('Hello, Ann')",
            "assert greet('Ann').upper() == 'HELLO, ANN!'",
            "assert isinstance(greet('Ann'), str) and 'Ann' in greet('Ann')",
            "assert words('fig pear fig').count('fig') == 2",
        ),
        _scripts("truth", "assert is_even(4) is True", "assert is_even(4) is True and is_even(5) is False"),
        _scripts("mutation", "numbers = [4711, 1147]\ngrow(numbers)\nassert numbers == [4711, 1147, 5858]"),
        _scripts(
            "raises",
            "try:\n    fail(-1)\nexcept ValueError as error:\n    assert str(error) == 'negative'\n"
            "else:\n    assert False, 'no error'",
        ),
        _scripts("check", "check(total)", setup=_CHECK),
        _scripts(
            "unittest",
            *(f'unittest.TestSuite([TestCases("{name}")]).debug()' for name in _METHODS),
            setup=_UNITTEST,
        ),
        _scripts(
            "class",
            "s = Stack()\ns.push(4711)\nassert s.pop() == 4711",
            "s = Stack()\ns.push(1)\ns.push(4711)\nassert len(s) == 2 and 4711 in s and 5 not in s",
        ),
        _scripts("factory", "s = make_stack()\ns.push(4711)\nassert s.pop() == 4711"),
    ]
)
