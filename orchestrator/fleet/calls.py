"""The outcome of a call of an actor: a success, an error of its own, or the actor's death."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError


def outcome(call: Any, timeout: float, pending: str | None = "no answer before the deadline") -> str | None:
    """Return None if ``call`` succeeded within ``timeout`` seconds, else why not; ``pending`` if it still runs."""
    ready, _ = ray.wait([call], timeout=timeout)
    if not ready:
        return pending
    try:
        ray.get(call, timeout=1.0)
    except (RayError, GetTimeoutError) as error:
        return last_line(error)
    return None


def raised(call: Any) -> Exception | None:
    """Return the exception that a call which has ended raised itself, so that its actor lives; else None."""
    try:
        ray.get(call, timeout=1.0)
    except RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    except (RayError, GetTimeoutError):
        return None
    return None


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text; Ray puts the cause there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
