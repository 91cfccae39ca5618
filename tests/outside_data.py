"""Data that lies beside a checkout, not in it, because it is large or under another licence: ``../shared``.

A test that reads it is skipped in a clone that has none, always with the same words, so that the summary of a
session says so in one line.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "shared"


def outside_data(path: str) -> Path:
    """Return a file or folder below ``../shared``; skip the test where it is not there."""
    found = _FOLDER / path
    if not found.exists():
        pytest.skip("public data beside the checkout (../shared) is not there")
    return found
