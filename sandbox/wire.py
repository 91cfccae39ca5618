"""The host's half of a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sandbox.types import Limits

_GRACE_S = 5.0


def limits_header(limits: Limits, results: int, keep_output: bool) -> dict[str, Any]:
    """``results``: how many the child may report, READY and LOADED included."""
    return {"limits": asdict(limits), "results": results, "keep_output": keep_output}


def payload(source: str, calls: Sequence[str] | None) -> bytes:
    return json.dumps({"source": source, "calls": calls}).encode("ascii")


def deadline_s(limits: Limits, results: int) -> float:
    """When the host stops believing in the runner; the runner's own limits come first."""
    return limits.wall_s * (results + 1) + _GRACE_S
