"""In what two JSON documents differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """Name the values in which two documents differ, by their places, with both; a missing one is null."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*there, *here)):
            yield from differences(there.get(key), here.get(key), f"{name}.{key}".removeprefix("."))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from differences(one, other, f"{name}.{number}")
    elif there != here:
        yield f"{name} is {_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    return f"{len(value)} long" if isinstance(value, list | dict) else json.dumps(value)
