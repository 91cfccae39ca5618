"""What one line of the doctor says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """``remedy`` says what to do about it; empty where nothing is to be done."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


Probe = Callable[[], Check]
