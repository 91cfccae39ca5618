"""The languages that programs may be in."""

from __future__ import annotations

from typing import Literal

Language = Literal["python", "javascript"]
