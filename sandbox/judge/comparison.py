"""When a value or a text counts as the expected one. Pure, on plain data."""

from __future__ import annotations

import math
from collections.abc import Hashable
from decimal import Decimal, InvalidOperation

from common.records import Comparison

_RELATIVE = 1e-7
_NUMBERS = (int, float, complex)


def same_value(actual: object, expected: object, comparison: Comparison, tolerance: float) -> bool:
    """Raises RecursionError for values that nest too deeply to compare."""
    match comparison:
        case "equal":
            return actual == expected
        case "close":
            return _close(actual, expected, tolerance)
        case "as_set":
            return _as_set(actual) == _as_set(expected)
        case "presence":
            return (actual is None) == (expected is None)
        case "contest" | "contest_item":
            ours, theirs = _as_json(actual), _as_json(expected)
            right = [theirs]
            if comparison == "contest_item" and isinstance(theirs, list) and len(theirs) == 1:
                right.append(theirs[0])
            return any(ours == one or (tolerance > 0 and _close(ours, one, tolerance)) for one in right)


def same_text(actual: str, expected: str, comparison: Comparison, tolerance: float) -> bool:
    """Equal lines, whatever blanks surround them or the whole.

    With ``close``, words may be numbers apart; with the contests' comparisons, words of a line may be the same
    number written in another way, or numbers apart that are not both whole.
    """
    if comparison in ("contest", "contest_item"):
        pairs = _lines(actual), _lines(expected)
        return len(pairs[0]) == len(pairs[1]) and all(
            ours == theirs or _same_numbers(ours, theirs, tolerance) for ours, theirs in zip(*pairs, strict=True)
        )
    if comparison != "close":
        return _lines(actual) == _lines(expected)
    ours, theirs = actual.split(), expected.split()
    return len(ours) == len(theirs) and all(
        a == b or _close(_number(a), _number(b), tolerance) for a, b in zip(ours, theirs, strict=True)
    )


def _close(actual: object, expected: object, tolerance: float) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return actual == expected
    if isinstance(expected, int) and isinstance(actual, int):
        return abs(actual - expected) <= tolerance  # whole numbers do not round
    if isinstance(expected, _NUMBERS) and isinstance(actual, _NUMBERS):
        return actual == expected or _near(complex(actual), complex(expected), tolerance)
    if isinstance(expected, list | tuple) and type(actual) is type(expected):
        assert isinstance(actual, list | tuple)
        return len(actual) == len(expected) and all(
            _close(a, b, tolerance) for a, b in zip(actual, expected, strict=True)
        )
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            _close(actual[key], expected[key], tolerance) for key in expected
        )
    return actual == expected


def _near(actual: complex, expected: complex, tolerance: float) -> bool:
    if _is_nan(actual) or _is_nan(expected):
        return _is_nan(actual) and _is_nan(expected)
    return abs(actual - expected) <= tolerance + _RELATIVE * abs(expected)


def _is_nan(number: complex) -> bool:
    return math.isnan(number.real) or math.isnan(number.imag)


def _as_set(value: object) -> object:
    if not isinstance(value, list | tuple | set | frozenset):
        return value
    return {item if isinstance(item, Hashable) else repr(item) for item in value}


def _number(word: str) -> object:
    try:
        return float(word)
    except ValueError:
        return word


def _lines(text: str) -> list[str]:
    """Lines without surrounding blanks, and without blank lines at either end."""
    return [line.strip() for line in text.strip().splitlines()]


def _same_numbers(ours: str, theirs: str, tolerance: float) -> bool:
    """Tell whether two lines have the same numbers; as floats, large whole ones would equal their neighbours."""
    try:
        pairs = zip(map(Decimal, ours.split()), map(Decimal, theirs.split()), strict=True)
        return all(a == b or _near_enough(a, b, tolerance) for a, b in pairs)
    except (InvalidOperation, ValueError):  # words, another number of them, or a NaN that signals
        return False


def _near_enough(ours: Decimal, theirs: Decimal, tolerance: float) -> bool:
    if not (ours.is_finite() and theirs.is_finite()) or (_is_whole(ours) and _is_whole(theirs)):
        return False
    return abs(float(ours) - float(theirs)) <= tolerance * max(1.0, abs(float(theirs)))


def _is_whole(number: Decimal) -> bool:
    return number == number.to_integral_value()


def _as_json(value: object) -> object:
    """Return data as JSON has it: tuples are lists, and whole numbers as keys are text."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key) if type(key) is int else key: _as_json(item) for key, item in value.items()}
    return value
