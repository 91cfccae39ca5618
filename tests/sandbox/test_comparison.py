from __future__ import annotations

import pytest

from sandbox.judge.comparison import same_text, same_value

NAN = float("nan")


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
        ("close", True, 1.0000001, False),
        ("close", "1", 1, False),
        ("close", 10**400, 10**400, True),
        ("close", 10**9 + 1, 10**9, False),
        ("close", 1e9 + 1, 1e9, True),
        ("close", 1j, 1.0000001j, True),
        ("as_set", [1, 2, 2], (2, 1), True),
        ("as_set", [1], [2], False),
        ("as_set", [[1]], [[1]], True),
        ("as_set", 3, 3, True),
        ("presence", object(), 7, True),
        ("presence", None, 7, False),
        ("presence", None, None, True),
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
    ],
)
def test_texts(comparison, actual: str, expected: str, same: bool) -> None:
    assert same_text(actual, expected, comparison, 1e-6) is same
