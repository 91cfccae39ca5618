"""Numbers and times of the standard library as text and back, which is how they leave the jail.

A program that has one has loaded its module, so none is loaded to look at a value.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

# Characters of one: arithmetic with a Fraction is quadratic in them.
_MAX_CHARS = 10_000


def write(value: object) -> tuple[str, str] | None:
    """Return the tag and the text of a number or a time, None of anything else."""
    for tag, (module, name, written, _) in _KINDS.items():
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(value, kind):
            return tag, written(kind, value)
    return None


def read(tag: str, text: str) -> object:
    """Return what a text stands for. Raises ValueError and ArithmeticError where that is nothing."""
    if len(text) > _MAX_CHARS:
        raise ValueError(f"value too large: a {tag} of {len(text)} characters")
    module, name, _, made = _KINDS[tag]
    return made(getattr(importlib.import_module(module), name), text)


def _write_fraction(kind: Any, value: Any) -> str:
    return f"{int(value.numerator):x}/{int(value.denominator):x}"


def _read_fraction(kind: Any, text: str) -> object:
    numerator, _, denominator = text.partition("/")
    if int(denominator, 16) <= 0:
        raise ValueError("a fraction without a denominator")
    return kind(int(numerator, 16), int(denominator, 16))


def _write_difference(kind: Any, value: Any) -> str:
    return f"{int(value.days)} {int(value.seconds)} {int(value.microseconds)}"


def _read_difference(kind: Any, text: str) -> object:
    days, seconds, microseconds = map(int, text.split())
    return kind(days, seconds, microseconds)


def _write_iso(kind: Any, value: Any) -> str:
    return str(kind.isoformat(value))


def _read_iso(kind: Any, text: str) -> object:
    return kind.fromisoformat(text)


# What of the library crosses as a text: its tag, module and class, and how it is written and read. The first that
# a value is an instance of counts: a datetime is a date too.
_KINDS: dict[str, tuple[str, str, Callable[[Any, Any], str], Callable[[Any, str], object]]] = {
    "decimal": ("decimal", "Decimal", lambda kind, value: str(kind.__str__(value)), lambda kind, text: kind(text)),
    "fraction": ("fractions", "Fraction", _write_fraction, _read_fraction),
    "datetime": ("datetime", "datetime", _write_iso, _read_iso),
    "date": ("datetime", "date", _write_iso, _read_iso),
    "time": ("datetime", "time", _write_iso, _read_iso),
    "timedelta": ("datetime", "timedelta", _write_difference, _read_difference),
}
#: Of what is written so.
TAGS = frozenset(_KINDS)
