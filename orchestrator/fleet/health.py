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
from common.errors import RunFailedError


class Health(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    STALE = "stale"
    HEALTHY = "healthy"
    DEAD = "dead"


class Cause(StrEnum):
    """Of a death. Who went with its node is not to blame; for a while it may be open which of both it was."""

    ITSELF = "itself"
    NODE = "node"
    OPEN = "open"


class TooManyRestartsError(RunFailedError):
    """A worker died more often than the run allows; the message names it and its last error."""


@dataclass
class WorkerHealth:
    """``needs_weights`` is false for workers that run no model: they are healthy once started. ``needs_room`` is
    true for workers that the cluster must have resources for: they wait, as long as it takes. ``restarts`` are
    those that count against the limit, ``open`` the deaths of which that is not known yet."""

    name: str
    max_restarts: int
    clock: Callable[[], float]
    needs_weights: bool = True
    needs_room: bool = False
    state: Health = field(init=False)
    restarts: int = 0
    open: int = 0
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.state, self.since = self._first, self.clock()

    def placed(self) -> None:
        self._move({Health.WAITING}, Health.STARTING)

    def started(self) -> None:
        self._move({Health.STARTING}, Health.STALE if self.needs_weights else Health.HEALTHY)

    def weights_loaded(self) -> None:
        self._move({Health.STALE, Health.HEALTHY}, Health.HEALTHY)

    def died(self, reason: str, cause: Cause = Cause.ITSELF) -> float:
        """Returns the seconds to wait before the restart. Raises :class:`TooManyRestartsError`."""
        self._move(set(Health) - {Health.DEAD, Health.WAITING}, Health.DEAD)
        if cause is Cause.NODE:
            return 0.0
        if cause is Cause.OPEN:
            self.open += 1
        else:
            self._count(reason)
        deaths = self.restarts + self.open
        return min(2.0 ** (deaths - 2), 30.0) if deaths > 1 else 0.0

    def settled(self, reason: str, cause: Cause) -> None:
        """The cause of an open death is known. Raises :class:`TooManyRestartsError`."""
        self.open -= 1
        if cause is Cause.ITSELF:
            self._count(reason)

    def restarted(self) -> None:
        self._move({Health.DEAD}, self._first)

    def _count(self, reason: str) -> None:
        if self.restarts >= self.max_restarts:
            raise TooManyRestartsError(
                f"{self.name} died {self.restarts + 1} times (deadlines.restarts: {self.max_restarts}); "
                f"last error: {reason}"
            )
        self.restarts += 1

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
