from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from common.records import TestCase
from sandbox.inside.values import ValueRefusedError
from sandbox.judge.comparison import same_text, same_value

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("comparison", "actual", "expected", "same"),
    [
        ("equal", 1.0, 1, True),
        ("equal", [1, 2], (1, 2), False),
        ("equal", 0.1 + 0.2, 0.3, False),
        ("close", 0.1 + 0.2, 0.3, True),
        ("close", 1.0, 1.1, False),
        ("close", [1.0000001, "a"], [1, "a"], True),
        ("close", [1, 2], [1, 2, 3], False),
        ("close", (1, 2), [1, 2], False),
        ("close", {"a": 1.0000001}, {"a": 1}, True),
        ("close", {"a": 1}, {"b": 1}, False),
        ("close", NAN, NAN, True),
        ("close", NAN, 1.0, False),
        ("close", float("inf"), float("inf"), True),
        ("close", float("inf"), 1.0, False),
        ("close", 1.0, INF, False),
        ("close", -INF, INF, False),
        ("close", [1e308], [INF], False),
        ("close", complex(INF, 1.0), complex(INF, 1.0000001), True),
        ("close", complex(INF, 1.0), complex(INF, 2.0), False),
        ("close", complex(1.0, NAN), complex(NAN, 1.0), False),
        ("close", 1.7e308, -1.7e308, False),
        ("close", True, 1.0000001, False),
        ("close", "1", 1, False),
        ("close", 10**400, 10**400, True),
        ("close", 10**9 + 1, 10**9, False),
        ("close", 1e9 + 1, 1e9, True),
        ("close", 1e9 + 1, 10**9, False),  # what is whole does not round
        ("close", 7.0000001, 7, True),
        ("close", float(2**60), 2**60 + 1, False),
        ("close", Decimal("0.30000001"), 0.3, True),
        ("close", Fraction(1, 3), 0.3333333, True),
        ("close", Fraction(1, 3), 0.3334, False),
        ("close", 1j, 1.0000001j, True),
        ("as_set", [1, 2, 2], (2, 1), True),
        ("as_set", [1], [2], False),
        ("as_set", [[1]], [[1]], True),
        ("as_set", [[1.0], {"a": [1]}], [{"a": [1.0]}, [1], [1]], True),
        ("as_set", ["[1]"], [[1]], False),
        ("as_set", [(1,)], [[1]], False),
        ("as_set", [{1}], [frozenset({1})], True),
        ("as_set", [NAN, 1], [1, NAN, NAN], True),
        ("equal", NAN, NAN, True),
        ("equal", {"a": (NAN, [1])}, {"a": (NAN, [1])}, True),
        ("equal", {"a": (NAN, [1])}, {"a": (NAN, [2])}, False),
        ("equal", 1.0, NAN, False),
        ("equal", NAN, 1.0, False),
        ("identical", True, True, True),
        ("identical", 1, True, False),
        ("identical", 0, None, False),
        ("as_set", 3, 3, True),
        ("presence", object(), 7, True),
        ("presence", None, 7, False),
        ("presence", None, None, True),
        ("contest", (1, (2, [3])), [1, [2, [3]]], True),
        ("contest", {1: (2,)}, {"1": [2]}, True),
        ("contest", [1, 2], [2, 1], False),
        ("contest", {1}, [1], False),
        ("contest", 1.0000001, 1.0, True),
        ("contest", 10**9 + 1, 10**9, False),
        ("contest", [3], 3, False),
        ("contest", 3, [3], False),
        ("contest_item", 3, [3], True),
        ("contest_item", (3,), [3], True),
        ("contest_item", [3], [[3]], True),
        ("contest_item", 3, [3, 4], False),
        ("contest_item", None, [], False),
    ],
)
def test_values(comparison, actual, expected, same: bool) -> None:
    assert same_value(actual, expected, comparison, 1e-6) is same


@pytest.mark.parametrize(
    ("comparison", "actual", "expected", "same"),
    [
        ("equal", "0.30\n", "0.3", False),
        ("close", "0.30\n", "0.3", True),
        ("close", "yes 1", "yes 1.0000001", True),
        ("close", "yes 1", "no 1", False),
        ("close", "1 2", "1", False),
        ("close", "nan", "nan", True),
        ("close", "1000000100", "1000000007", False),
        ("close", "1000000100.0", "1000000007", False),
        ("close", "1000000007.0", "1000000007", True),
        ("close", "7", "inf", False),
        ("close", "9" * 5000, "8" * 5000, False),
        ("close", "1e999", "1e998", False),
        ("contest", "1.50 2\n", "1.5 2.0", True),
        ("contest", "1.5000001", "1.5", True),
        ("contest", "1.51", "1.5", False),
        ("contest", "1.9999999", "2", True),
        ("contest", "1000000100.5", "1000000007", False),
        ("contest", f"{2**60}.5", str(2**60 + 1), False),
        ("contest", "50000000000000001", "50000000000000000", False),
        ("contest", f"1{'0' * 5000}1", f"1{'0' * 5000}2", False),
        ("contest", "1 2", "1\n2", False),
        ("contest", " YES \n\n", "YES", True),
        ("contest", "YES 1.0", "YES 1", False),
        ("contest", "snan", "1", False),
        ("contest", "1e999999 nan", "2e999999 nan", False),
        ("contest_item", "2.0", "2", True),
    ],
)
def test_texts(comparison, actual: str, expected: str, same: bool) -> None:
    assert same_text(actual, expected, comparison, 1e-6) is same


def test_contests_compare_exactly_without_a_tolerance() -> None:
    assert same_value((0.5,), [0.5], "contest", 0.0)
    assert not same_value(0.1 + 0.2, 0.3, "contest", 0.0)
    assert same_text("0.30", "0.3", "contest", 0.0)
    assert not same_text("0.3000000001", "0.3", "contest", 0.0)


def test_items_that_share_a_hash_are_not_compared_for_ever() -> None:
    colliding: list[object] = [number * (2**61 - 1) for number in range(10_000)]
    with pytest.raises(ValueRefusedError, match="share a hash"):
        same_value(colliding, [1], "as_set", 0.0)
    assert same_value([7] * 10_000, [7], "as_set", 0.0)


@pytest.mark.parametrize("comparison", ["equal", "close", "as_set", "contest"])
def test_a_decimal_is_not_compared_with_a_whole_number_for_ever(comparison) -> None:
    """Converting this one takes minutes."""
    assert not same_value([1 << 8_000_000], [Decimal("2.5")], comparison, 1e-6)


@pytest.mark.parametrize("tolerance", [float("inf"), "1e999", NAN, -1.0])
def test_a_tolerance_is_a_finite_number(tolerance: object) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        TestCase.model_validate({"call": "f()", "expected": "1", "tolerance": tolerance})
