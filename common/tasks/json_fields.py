"""Fields of rows that hold JSON in a string, as data sets have that know no lists of anything."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from common.tasks.rows import TaskRow

# Python reads no longer numbers in decimal.
_DIGITS = 4000


def parsed(row: TaskRow, field: str) -> Any:
    """Return the value of a field, parsed if it is a string; None for an absent or empty one.

    Raises TaskFileError for what is not JSON.
    """
    value = row.fields.get(field)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return read_json(value)
    except ValueError as error:
        raise row.error(field, f"is not JSON ({error}); write JSON, or leave the field empty") from error


def read_json(text: str) -> Any:
    """Read JSON, with whole numbers of any length. Raises ValueError, also for what nests too deeply."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("nests too deeply") from error


def _whole(digits: str) -> int:
    return int(digits) if len(digits) < _DIGITS else int(Decimal(digits))
