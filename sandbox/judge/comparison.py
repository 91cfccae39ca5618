"""When a value or a text counts as the expected one. Pure, on plain data."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from common.records import Comparison
from sandbox.inside.values import Record, is_huge, refuse_collisions

_RELATIVE = 1e-7
_NUMBERS = (int, float, complex, Decimal, Fraction)
_NAN = object()


def same_value(actual: object, expected: object, comparison: Comparison, tolerance: float) -> bool:
    """Tell whether a value is the expected one. A NaN is where a NaN is expected.

    Raises RecursionError, ValueError, TypeError or ArithmeticError for values that cannot be compared.
    """
    if _has(expected, _is_decimal) and _has(actual, is_huge):
        return False
    match comparison:
        case "equal":
            return _equal(actual, expected)
        case "identical":
            return type(actual) is type(expected) and _equal(actual, expected)
        case "close":
            return _close(actual, expected, tolerance)
        case "as_set":
            return _equal(_as_set(actual), _as_set(expected))
        case "presence":
            return (actual is None) == (expected is None)
        case "contest" | "contest_item":
            ours, theirs = _as_json(actual), _as_json(expected)
            right = [theirs]
            if comparison == "contest_item" and isinstance(theirs, list) and len(theirs) == 1:
                right.append(theirs[0])
            return any(_equal(ours, one) or (tolerance > 0 and _close(ours, one, tolerance)) for one in right)


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


def _equal(actual: object, expected: object) -> bool:
    if actual == expected:
        return True
    return _has(expected, _is_nan) and _with_one_nan(actual) == _with_one_nan(expected)


def _close(actual: object, expected: object, tolerance: float) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return actual == expected
    if isinstance(expected, _NUMBERS) and isinstance(actual, _NUMBERS):
        return actual == expected or _near(actual, expected, tolerance)
    if isinstance(expected, list | tuple) and type(actual) is type(expected):
        assert isinstance(actual, list | tuple)
        return len(actual) == len(expected) and all(
            _close(a, b, tolerance) for a, b in zip(actual, expected, strict=True)
        )
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            _close(actual[key], expected[key], tolerance) for key in expected
        )
    return _equal(actual, expected)


def _near(actual: complex | Decimal | Fraction, expected: complex | Decimal | Fraction, tolerance: float) -> bool:
    """Tell whether two numbers, which are not equal, are ``tolerance`` apart, and a little more for fractions.

    A whole number does not round: next to it there is no more room than the tolerance.
    """
    if isinstance(expected, int):
        whole = _as_whole(actual)
        difference: Any = abs((actual if whole is None else whole) - expected)
        return bool(difference <= tolerance)
    ours, theirs = complex(actual), complex(expected)
    finite = (ours.real, theirs.real), (ours.imag, theirs.imag)
    if not all(_same_special(a, b) for a, b in finite):
        return False
    distance = abs(complex(*(a - b if math.isfinite(b) else 0.0 for a, b in finite)))
    size = abs(complex(*(b if math.isfinite(b) else 0.0 for _, b in finite)))
    return distance <= tolerance + _RELATIVE * size


def _as_whole(number: complex | Decimal | Fraction) -> int | None:
    """Return a whole number as an int, so that large ones are compared without rounding."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, int) else None


def _same_special(actual: float, expected: float) -> bool:
    """Tell whether both are finite, both NaN, or the same infinity."""
    if math.isfinite(expected):
        return math.isfinite(actual)
    return math.isnan(actual) if math.isnan(expected) else actual == expected


def _has(value: object, what: Callable[[object], bool]) -> bool:
    """Tell whether a value, or something in it, is what is asked for."""
    match value:
        case dict():
            return any(_has(key, what) or _has(item, what) for key, item in value.items())
        case list() | tuple() | set() | frozenset() | deque():
            return any(_has(item, what) for item in value)
        case Record():
            return _has(value.fields, what)
    return what(value)


def _is_decimal(value: object) -> bool:
    return isinstance(value, Decimal)


def _is_nan(value: object) -> bool:
    return isinstance(value, float | complex | Decimal) and value != value


def _with_one_nan(value: object) -> object:
    """Return the value with one object, which is equal to itself, for every NaN in it."""
    match value:
        case dict():
            return {_with_one_nan(key): _with_one_nan(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(map(_with_one_nan, value))
    return _NAN if _is_nan(value) else value


def _as_set(value: object) -> object:
    if not isinstance(value, list | tuple | set | frozenset):
        return value
    items = [_hashable(item) for item in value]
    refuse_collisions(items)
    return set(items)


def _hashable(item: object) -> Hashable:
    """Return what stands for an item in a set: equal for equal items, and for no others."""
    match item:
        case list():
            return list, tuple(map(_hashable, item))
        case tuple():
            return tuple, tuple(map(_hashable, item))
        case set() | frozenset():
            return set, _frozen(item)
        case dict():
            return dict, _frozen((_hashable(key), _hashable(value)) for key, value in item.items())
    if not isinstance(item, Hashable):
        raise TypeError(f"{type(item).__name__} is compared in no set")
    return item


def _frozen(items: Iterable[object]) -> frozenset[Hashable]:
    hashable = [_hashable(item) for item in items]
    refuse_collisions(hashable)
    return frozenset(hashable)


def _number(word: str) -> object:
    """Return the number that a word writes; a word that is too large for one stays a word."""
    try:
        return int(word)
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        return word
    return word if math.isinf(number) and any(map(str.isdigit, word)) else number


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
    """Tell whether two numbers, which are not equal, are near; only fractions have room in proportion."""
    if not (ours.is_finite() and theirs.is_finite()) or (_is_whole(ours) and _is_whole(theirs)):
        return False
    if _is_whole(theirs):
        return abs(ours - theirs) <= tolerance
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
