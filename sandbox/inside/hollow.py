"""Answers that a comparison finds nothing wrong with because there is nothing in them.

``all(a == b for a, b in zip(f(x), [1, 2]))`` holds of an empty list, and ``not abs(f(x) - 7.5) > 1e-6`` of a NaN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from sandbox.inside import between

_NEVER = frozenset({type(None), bool, int})


def is_hollow(value: Any, *, arrays: bool) -> bool:
    """Tell whether plain data is empty or has a NaN in it; with ``arrays``, also whether it has empty parts.

    numpy stretches what is empty to any other shape, so that all of it is close to anything.
    """
    if type(value) in _NEVER:
        return False
    match value:
        case float() | complex():
            return value != value
        case list() | tuple() | set() | frozenset() | deque() | ValuesView() | ItemsView():
            return not value or any(_is_hole(item, arrays) for item in value)
        case dict():
            return not value or any(_is_hole(item, arrays) for item in value.values())
        case str() | bytes() | bytearray() | range() | KeysView():
            return not value
    return between.is_numpy(value) and (value.size == 0 or bool((value != value).any()))


def _is_hole(item: Any, arrays: bool) -> bool:
    match item:
        case int() | str() | bytes() | None:
            return False
        case list() | tuple() | set() | frozenset() | dict() if not item:
            return arrays
    return is_hollow(item, arrays=arrays)
