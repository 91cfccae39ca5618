"""The health of workers, as a state machine with an injected clock, and when a pool of them may start.

    WAITING --placed--> STARTING --started--> STALE --weights loaded--> HEALTHY
    any state --died--> DEAD --restarted--> WAITING, or STARTING where nothing has to be waited for

There is no way from DEAD to HEALTHY but through the current weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from common.config import ConfigError


class Health(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    STALE = "stale"
    HEALTHY = "healthy"
    DEAD = "dead"


class TooManyRestartsError(RuntimeError):
    """A worker died more often than the run allows; the message names it and its last error."""


@dataclass
class WorkerHealth:
    """``needs_weights`` is false for workers that run no model: they are healthy once started. ``needs_room`` is
    true for workers that the cluster must have resources for: they wait, as long as it takes."""

    name: str
    max_restarts: int
    clock: Callable[[], float]
    needs_weights: bool = True
    needs_room: bool = False
    state: Health = field(init=False)
    restarts: int = 0
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.state, self.since = self._first, self.clock()

    def placed(self) -> None:
        self._move({Health.WAITING}, Health.STARTING)

    def started(self) -> None:
        self._move({Health.STARTING}, Health.STALE if self.needs_weights else Health.HEALTHY)

    def weights_loaded(self) -> None:
        self._move({Health.STALE, Health.HEALTHY}, Health.HEALTHY)

    def died(self, reason: str, with_node: bool = False) -> float:
        """Count a restart and return the seconds to wait before it. Raises :class:`TooManyRestartsError`.

        A worker that went ``with_node`` is not to blame: nothing is counted.
        """
        self._move(set(Health) - {Health.DEAD, Health.WAITING}, Health.DEAD)
        if with_node:
            return 0.0
        if self.restarts >= self.max_restarts:
            raise TooManyRestartsError(
                f"{self.name} died {self.restarts + 1} times (deadlines.restarts: {self.max_restarts}); "
                f"last error: {reason}"
            )
        self.restarts += 1
        return min(2.0 ** (self.restarts - 2), 30.0) if self.restarts > 1 else 0.0

    def restarted(self) -> None:
        self._move({Health.DEAD}, self._first)

    @property
    def _first(self) -> Health:
        return Health.WAITING if self.needs_room else Health.STARTING

    def _move(self, allowed: set[Health], target: Health) -> None:
        if self.state not in allowed:
            raise ValueError(f"{self.name}: no transition from {self.state} to {target}")
        self.state, self.since = target, self.clock()


@dataclass
class Muster:
    """Whether enough workers of a pool are past their start for the run to begin.

    ``setting`` is the field of the configuration that says how many that are: ``minimum``.
    """

    setting: str
    minimum: int
    deadline: float
    clock: Callable[[], float]
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def complete(self, workers: Sequence[WorkerHealth]) -> bool:
        """Raises ConfigError where some still wait for room when the deadline has passed."""
        ready = sum(worker.state in (Health.STALE, Health.HEALTHY) for worker in workers)
        if ready >= self.minimum:
            return True
        if self.clock() - self.began > self.deadline and any(w.state is Health.WAITING for w in workers):
            raise ConfigError(
                f"{self.setting}: {ready} of {self.minimum} workers found room on the cluster within "
                f"{self.deadline:.0f} s (deadlines.start_seconds); add nodes with their resources, or lower it"
            )
        return False
