"""Read a number out of what a reward function returned."""

from __future__ import annotations

import math
import reprlib
from contextlib import suppress
from decimal import Decimal
from numbers import Real

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class NotANumberError(ValueError):
    """A value is no finite number; the message shows it, and what may be wrong with it."""


def finite_number(value: object) -> float:
    """Return ``value`` as a float: a bool, a number of Python's, or a scalar of NumPy or torch (0 dimensions).

    Raises NotANumberError.
    """
    number = math.nan
    with suppress(OverflowError, ValueError):  # an integer that no float holds; a Decimal that signals
        scalar = _scalar(value)
        if isinstance(scalar, Real | Decimal):
            number = float(scalar)
    if not math.isfinite(number):
        raise NotANumberError(f"returned {shown(value)}, not a finite number{_remedy(value)}")
    return number


def shown(value: object) -> str:
    """Return a short text of a value of the user's."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"an enormous {type(value).__name__}"


def _scalar(value: object) -> object:
    """Return Python's own number for an array or a tensor of 0 dimensions, which NumPy's scalars are too."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def _remedy(value: object) -> str:
    if value is None:
        return "; does every path through it end in a return?"
    if isinstance(value, str):
        return "; return float(...) of a text"
    return ""
