"""What a number that a user writes may be."""

from __future__ import annotations

from typing import Any

#: Of anything that is counted, in tokens, MiB or steps: bytes of as many MiB still fit into 64 bits.
LARGEST_COUNT = 2**31 - 1
#: Of anything that is measured. As a wait in seconds, which the operating system bounds, it is 31 years.
LARGEST_NUMBER = 1e9
#: What a generator of random numbers, and a record, can take.
LARGEST_SEED = 2**64 - 1


def not_a_boolean(value: Any) -> Any:
    """Return ``value``. Raises ValueError for a boolean, which Python counts among the whole numbers."""
    if isinstance(value, bool):
        raise ValueError("is true or false; write a number")
    return value
