"""Arguments of the command line, whatever the locale."""

from __future__ import annotations

import os


def in_utf8(argument: str) -> str:
    """Return an argument as UTF-8 has it, whatever the locale took its bytes for, or as it is if they are none."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:  # it did not come from the command line, or is in the locale's own encoding
        return argument
