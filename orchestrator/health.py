"""The health of one worker, as a state machine with an injected clock.

    STARTING --started--> STALE --weights loaded--> HEALTHY
    any state --died--> DEAD --restarted--> STARTING

There is no way from DEAD to HEALTHY but through the current weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    STARTING = "starting"
    STALE = "stale"
    HEALTHY = "healthy"
    DEAD = "dead"


class TooManyRestartsError(RuntimeError):
    """A worker died more often than the run allows; the message names it and its last error."""


@dataclass
class WorkerHealth:
    """``needs_weights`` is false for workers that run no model: they are healthy once started."""

    name: str
    max_restarts: int
    clock: Callable[[], float]
    needs_weights: bool = True
    state: Health = Health.STARTING
    restarts: int = 0
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.clock()

    def started(self) -> None:
        self._move({Health.STARTING}, Health.STALE if self.needs_weights else Health.HEALTHY)

    def weights_loaded(self) -> None:
        self._move({Health.STALE, Health.HEALTHY}, Health.HEALTHY)

    def died(self, reason: str) -> float:
        """Count a restart and return the seconds to wait before it. Raises :class:`TooManyRestartsError`."""
        self._move(set(Health) - {Health.DEAD}, Health.DEAD)
        if self.restarts >= self.max_restarts:
            raise TooManyRestartsError(
                f"{self.name} died {self.restarts + 1} times (deadlines.restarts: {self.max_restarts}); "
                f"last error: {reason}"
            )
        self.restarts += 1
        return min(2.0 ** (self.restarts - 2), 30.0) if self.restarts > 1 else 0.0

    def restarted(self) -> None:
        self._move({Health.DEAD}, Health.STARTING)

    def _move(self, allowed: set[Health], target: Health) -> None:
        if self.state not in allowed:
            raise ValueError(f"{self.name}: no transition from {self.state} to {target}")
        self.state, self.since = target, self.clock()
