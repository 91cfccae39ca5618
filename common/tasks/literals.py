"""Plain data as Python source, for the calls of tests."""

from __future__ import annotations

import math

#: Calls of more characters are no tests: every request to the sandbox would carry them.
MAX_CALL_CHARS = 200_000
# Python refuses to write longer ones in decimal.
_DECIMAL = 10**4000


def source_of(value: object) -> str:
    """Write plain data as Python source that gives it back.

    It has literals and operators only, so that no name can be redefined under it.

    Raises TypeError for anything but None, bool, int, float, complex, str, bytes and containers of these.
    """
    kind = type(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "(1e999 - 1e999)"
        return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}1e999"
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if -_DECIMAL < value < _DECIMAL else hex(value)
    if isinstance(value, complex):
        return f"({source_of(value.real)} + {source_of(value.imag)} * 1j)"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{source_of(key)}: {source_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set):
        items = ", ".join(map(source_of, value))
        if kind is list:
            return f"[{items}]"
        if kind is set:
            return "{" + (items or "*()") + "}"
        return f"({items},)" if len(value) == 1 else f"({items})"
    raise TypeError(f"{kind.__name__} has no literal")
