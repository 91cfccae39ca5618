"""What became of a call of an actor."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError


def outcome(reference: Any, timeout: float, pending: str | None = "no answer before the deadline") -> str | None:
    """None if the call succeeded, else why not; ``pending`` if it has not returned."""
    ready, _ = ray.wait([reference], timeout=timeout)
    if not ready:
        return pending
    try:
        ray.get(reference, timeout=1.0)
    except (RayError, GetTimeoutError) as error:
        return last_line(error)
    return None


def raised(reference: Any) -> bool:
    """Whether the call ended in an exception of its own: the actor lives."""
    try:
        ray.get(reference, timeout=1.0)
    except RayTaskError:
        return True
    except (RayError, GetTimeoutError):
        return False
    return False


def last_line(error: BaseException) -> str:
    """The last line of an error's text; Ray puts the cause there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
