"""The outcome of a call of an actor: a success, an error of its own, or the actor's death."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from orchestrator.fleet.failure_log import why


def outcome(call: Any, timeout: float, pending: str | None = "no answer before the deadline") -> str | None:
    """Return None if ``call`` succeeded within ``timeout`` seconds, else why not; ``pending`` if it still runs."""
    ready, _ = ray.wait([call], timeout=timeout)
    if not ready:
        return pending
    try:
        ray.get(call, timeout=1.0)
    except (RayError, GetTimeoutError) as error:
        return why(error)
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
