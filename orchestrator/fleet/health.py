"""The state of one worker, with its restarts and failures, and the barrier at the start of a pool. No Ray in here.

    WAITING --placed--> STARTING --started--> STALE --weights loaded--> HEALTHY
    any of these but WAITING --failed--> DEAD --next attempt--> WAITING, or STARTING where no placement is needed

There is no way from DEAD to HEALTHY but through the current weights. All clocks are injected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from common.config import ConfigError, DeadlinesConfig
from common.errors import RunFailedError

#: How long a failure may turn out to be the node's. Ray gives a node up after 5 health checks without an answer,
#: begun every 3 s and given 10 s each (``RAY_health_check_*``, its defaults); the rest is for a busy control
#: store.
ATTRIBUTION_SECONDS = 90.0
_LONGEST_BACKOFF_SECONDS = 30.0
#: A worker that was healthy for so long before it failed does not fail at its start, and need not wait for long.
_SETTLED_SECONDS = 30.0


class Health(StrEnum):
    """Name the state of a worker; also the ``state`` label of the metric ``fleet_workers``."""

    WAITING = "waiting"
    STARTING = "starting"
    STALE = "stale"
    HEALTHY = "healthy"
    DEAD = "dead"


class Cause(StrEnum):
    """Name what made a worker fail. Only its own failures count against the limit of restarts."""

    WORKER = "worker"
    NODE = "node"
    UNKNOWN = "unknown"


class TooManyRestartsError(RunFailedError):
    """An actor failed more often than the run allows; the message names it and its last error."""


@dataclass(frozen=True)
class RestartBudget:
    """Allow ``restarts`` of an actor within ``window`` seconds; those longer ago do not count."""

    restarts: int
    window: float

    @classmethod
    def of(cls, deadlines: DeadlinesConfig) -> RestartBudget:
        """Return the budget that each actor of a run has."""
        return cls(deadlines.restarts, deadlines.restart_window_seconds)


class RestartLimit:
    """Count the restarts of ``name`` against its budget. ``used``: restarts so far, whenever they were."""

    def __init__(self, name: str, budget: RestartBudget, clock: Callable[[], float]) -> None:
        self._name = name
        self._budget = budget
        self._clock = clock
        self._times: list[float] = []
        self.used = 0

    @property
    def recent(self) -> int:
        """Restarts that count: those within the budget's window."""
        now = self._clock()
        self._times = [time for time in self._times if now - time < self._budget.window]
        return len(self._times)

    def count(self, reason: str) -> None:
        """Count one more restart. Raises :class:`TooManyRestartsError` where none is left."""
        budget = self._budget
        if self.recent >= budget.restarts:
            raise TooManyRestartsError(
                f"{self._name} died {self.recent + 1} times within {budget.window:.0f} s (deadlines.restarts: "
                f"{budget.restarts} in deadlines.restart_window_seconds); last error: {reason}"
            )
        self._times.append(self._clock())
        self.used += 1


@dataclass(frozen=True)
class _UnattributedFailure:
    """A failure that counts as the worker's own at ``until``, unless ``node`` is lost before."""

    node: str
    reason: str
    until: float


class WorkerHealth:
    """Own the state of one worker across all of its attempts to run.

    A worker with ``needs_placement`` waits until the cluster has its resources, for as long as that takes. A
    worker without ``needs_weights`` runs no model and is healthy once started.
    """

    def __init__(
        self,
        name: str,
        budget: RestartBudget,
        clock: Callable[[], float],
        needs_weights: bool = True,
        needs_placement: bool = False,
    ) -> None:
        self.name = name
        self.needs_weights = needs_weights
        self._clock = clock
        self._limit = RestartLimit(name, budget, clock)
        self._first = Health.WAITING if needs_placement else Health.STARTING
        self._attempts = 0
        self._node = ""
        self._restart_at = 0.0
        self._failures_in_a_row = 0
        self._unattributed: list[_UnattributedFailure] = []
        self.state, self._since = self._first, clock()

    @property
    def requested(self) -> bool:
        """Whether the first attempt has begun."""
        return self._attempts > 0

    @property
    def actor(self) -> str:
        """Name of the actor of the current attempt; each attempt has another."""
        return self.name + (f"-restart-{self._attempts - 1}" if self._attempts > 1 else "")

    @property
    def restarts(self) -> int:
        """Restarts so far that were not its node's fault."""
        return self._limit.used

    @property
    def unattributed(self) -> int:
        """Failures of which it is not known yet whether they count."""
        return len(self._unattributed)

    @property
    def node(self) -> str:
        """Id of the node that the current attempt runs on; empty where that is not known."""
        return self._node

    @property
    def seconds(self) -> float:
        """Seconds since the state last changed, or since the worker began to load weights."""
        return self._clock() - self._since

    @property
    def restart_due(self) -> bool:
        """Whether a dead worker has waited long enough for its next attempt."""
        return self.state is Health.DEAD and self._clock() >= self._restart_at

    def begin_attempt(self) -> None:
        """Begin the first attempt, or after a failure the next one."""
        if self.requested:
            self._move({Health.DEAD}, self._first)
        self._attempts += 1

    def placed(self, node: str) -> None:
        """Record that the cluster has set resources aside on ``node``."""
        self._move({Health.WAITING}, Health.STARTING)
        self._node = node

    def started(self, node: str) -> None:
        """Record that the actor is up on ``node`` (empty where that is not known)."""
        self._move({Health.STARTING}, Health.STALE if self.needs_weights else Health.HEALTHY)
        self._node = node or self._node

    def loading_began(self) -> None:
        """Count :attr:`seconds` from here."""
        self._since = self._clock()

    def weights_loaded(self) -> None:
        """Record that the worker has the current weights."""
        self._move({Health.STALE, Health.HEALTHY}, Health.HEALTHY)

    def failed(self, reason: str, cause: Cause) -> str:
        """Record that the attempt failed; return a line about it. Raises :class:`TooManyRestartsError`.

        The more failures there were in a row, the longer the next attempt waits.
        """
        if self.state is Health.HEALTHY and self.seconds >= _SETTLED_SECONDS:
            self._failures_in_a_row = 0
        self._move(set(Health) - {Health.DEAD, Health.WAITING}, Health.DEAD)
        node, self._node = self._node, ""
        now = self._clock()
        if cause is Cause.NODE:
            self._restart_at = now
            return self._lost_with_node()
        if cause is Cause.UNKNOWN:
            self._unattributed.append(_UnattributedFailure(node, reason, now + ATTRIBUTION_SECONDS))
            note = f"{self.name} died ({reason}); a restart, unless its node is lost too"
        else:
            self._limit.count(reason)
            note = f"{self.name} died ({reason}); restart {self.restarts}"
        self._failures_in_a_row += 1
        failures = self._failures_in_a_row
        wait = min(2.0 ** (failures - 2), _LONGEST_BACKOFF_SECONDS) if failures > 1 else 0.0
        self._restart_at = now + wait
        return note

    def attribute(self, lost_nodes: set[str]) -> list[str]:
        """Decide on failures: those on ``lost_nodes`` do not count, those that have waited long enough do.

        Returns a line for each that does not count. Raises :class:`TooManyRestartsError`.
        """
        now, notes = self._clock(), []
        failures, self._unattributed = self._unattributed, []
        for failure in failures:
            if failure.node in lost_nodes:
                notes.append(self._lost_with_node())
            elif now >= failure.until:
                self._limit.count(failure.reason)
            else:
                self._unattributed.append(failure)
        return notes

    def _lost_with_node(self) -> str:
        return f"{self.name} was lost with its node: no restart is counted; it returns when the cluster has room"

    def _move(self, allowed: set[Health], target: Health) -> None:
        if self.state not in allowed:
            raise ValueError(f"{self.name}: no transition from {self.state} to {target}")
        self.state, self._since = target, self._clock()


@dataclass
class StartupBarrier:
    """Decide whether enough workers of a pool are past their start for the run to begin.

    ``minimum`` workers are enough; ``setting`` is the configuration field that says so. ``deadline`` in seconds.
    """

    setting: str
    minimum: int
    deadline: float
    clock: Callable[[], float]
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def passed(self, states: Sequence[Health]) -> bool:
        """Tell whether the run may begin.

        Raises ConfigError where some workers still wait for resources when the deadline has passed.
        """
        ready = sum(state in (Health.STALE, Health.HEALTHY) for state in states)
        if ready >= self.minimum:
            return True
        if self.clock() - self.began > self.deadline and Health.WAITING in states:
            raise ConfigError(
                f"{self.setting}: {ready} of {self.minimum} workers found room on the cluster within "
                f"{self.deadline:.0f} s (deadlines.start_seconds); add nodes with their resources, or lower it"
            )
        return False
