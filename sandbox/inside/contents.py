"""Text that is the same for equal plain data, by which what two programs hold is compared later."""

from __future__ import annotations

import binascii
from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from sandbox.inside import between

_SHORT = 80


def content(value: object) -> str:
    """Describe plain data, whatever the order of sets and keys; objects of the solution are told by type alone."""
    text = _text(value)
    return text if len(text) <= _SHORT else f"{binascii.crc32(text.encode('utf-8', 'backslashreplace')):x}"


def _text(value: Any) -> str:
    match value:
        case int() | float():
            return _number(value)
        case list() | deque():
            return f"[{', '.join(map(_text, value))}]"
        case tuple():
            return f"({', '.join(map(_text, value))})"
        case set() | frozenset() | KeysView():
            return f"{{{', '.join(sorted(map(_text, value)))}}}"
        case dict():
            return _text(value.items())
        case ItemsView() | ValuesView():
            return f"<{', '.join(sorted(map(_text, value)))}>"
        case str() | bytes() | bytearray() | complex() | range() | None:
            return repr(value)
    if between.is_numpy(value):
        return _text(value.tolist())
    kind = type(value)
    return kind.__name__ if kind.__module__.startswith("sandbox.") else f"{kind.__name__} {value}"


def _number(value: float) -> str:
    """Write a number; 1, 1.0 and True read the same."""
    return hex(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)
