"""One worker: its actor is placed, started, given weights and watched, attempt after attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from common.config import DeadlinesConfig
from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.buckets import WeightsUpdate
from common.weights.comparison import Verification
from common.weights.planner import members_of
from orchestrator.fleet.calls import outcome, raised
from orchestrator.fleet.failures import node_at
from orchestrator.fleet.health import Health, WorkerHealth
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.weights_check import WeightsCheck

#: Makes the actor of a worker: (consumer name, actor name) -> handle.
Spawn = Callable[[str, str], Any]


@dataclass(frozen=True)
class NumberedUpdate:
    """Published weights and their number; versions do not tell updates apart, as the learner may fall back."""

    number: int
    update: WeightsUpdate


@dataclass
class _Attempt:
    """An actor and the calls it was sent. Each attempt has its own, so nothing of the last one is left over.

    ``number``: of the update that ``loading`` loads.
    """

    handle: Any
    starting: list[Any]
    loading: Any = None
    number: int = 0
    checked_broadcast: bool = False
    running: Any = None
    address: str = ""
    locations: tuple[Location, ...] = ()


class Worker:
    """Run one worker. Its state is in ``health``; this class makes Ray follow it. :meth:`poll` never blocks.

    With a ``check``, the weights that an attempt begins with, and those of its first broadcast, are compared with
    what was published.
    """

    def __init__(
        self,
        health: WorkerHealth,
        spawn: Spawn,
        deadlines: DeadlinesConfig,
        placement: PlacementGroups | None = None,
        check: WeightsCheck | None = None,
    ) -> None:
        self.health = health
        self._spawn = spawn
        self._deadlines = deadlines
        self._placement = placement
        self._check_weights = check
        self._attempt: _Attempt | None = None

    @property
    def address(self) -> str:
        """Metrics endpoint of the actor; empty until it has started."""
        return self._attempt.address if self._attempt else ""

    @property
    def members(self) -> dict[str, Location]:
        """The actor's members of a broadcast and where they are, by name; none until it has started."""
        return members_of(self.health.actor, self._attempt.locations) if self._attempt else {}

    @property
    def healthy(self) -> bool:
        return self.health.state is Health.HEALTHY

    def start(self) -> None:
        """Begin the next attempt: request its resources, or spawn its actor where it needs none."""
        self.health.begin_attempt()
        if self._placement is None:
            self._spawn_actor()
        else:
            self._placement.request(self.health.actor)

    def poll(self, current: NumberedUpdate | None) -> str | None:
        """Move the attempt on; return why it failed, None if it did not.

        ``current``: the weights that a worker must have to be healthy, None while there are none.
        """
        match self.health.state:
            case Health.DEAD:
                if self.health.restart_due:
                    self.start()
            case Health.WAITING:
                self._await_placement()
            case Health.STARTING:
                return self._await_start()
            case Health.STALE:
                return self._catch_up(current)
            case Health.HEALTHY:
                return outcome(self._live.running, 0.0, pending=None)
        return None

    def load(self, update: WeightsUpdate) -> None:
        """Have the actor load an update out of the object store."""
        self._live.loading = self._live.handle.load_weights.remote(update)

    def receive(self, plan: Plan) -> None:
        """Have the actor take part in a broadcast in which it has members."""
        first = next(iter(self.members))
        self._live.loading = self._live.handle.receive_weights.remote(plan, plan.rank(first))

    def check_broadcast(self, update: WeightsUpdate) -> bool:
        """Have the actor compare the first weights that it was broadcast with an update; tell whether it does."""
        if self._check_weights is None or self._live.checked_broadcast:
            return False
        self._live.checked_broadcast = True
        self._live.loading = self._live.handle.verify_weights.remote(update, reload=False)
        return True

    def transfer_failure(self) -> str | None:
        """Return why the transfer under way has failed; None while it has not."""
        return outcome(self._live.loading, 0.0, pending=None)

    def missed_transfer(self, seconds: float) -> bool:
        """Wait for the end of a transfer and tell whether it failed with the worker alive."""
        loading = self._live.loading
        ready, _ = ray.wait([loading], timeout=max(0.0, seconds))
        return bool(ready) and raised(loading)

    def end_transfer(self, seconds: float) -> str | None:
        """Wait for the end of a transfer; return why it failed, None if it did not."""
        loading, self._live.loading = self._live.loading, None
        failure = outcome(loading, max(0.0, seconds))
        if failure is None:
            self._record_check(loading)
        return failure

    def stop(self) -> None:
        """Ask a healthy worker's loop to end after its current message."""
        if self.healthy:
            self._live.handle.stop.remote()

    def await_end(self, seconds: float) -> None:
        """Wait for the end of a healthy worker's loop, at most ``seconds``."""
        if self.healthy:
            ray.wait([self._live.running], timeout=seconds)

    def kill(self) -> None:
        """Kill the actor and release its resources."""
        ray.kill(self._live.handle)
        self._attempt = None
        if self._placement is not None:
            self._placement.remove(self.health.actor)

    @property
    def _live(self) -> _Attempt:
        if self._attempt is None:
            raise RuntimeError(f"{self.health.name} has no actor")
        return self._attempt

    def _spawn_actor(self) -> None:
        handle = self._spawn(self.health.name, self.health.actor)
        starting = [handle.metrics_address.remote()]
        if self.health.needs_weights:
            starting.append(handle.locations.remote())
        self._attempt = _Attempt(handle, starting)

    def _await_placement(self) -> None:
        placement, actor = self._placement, self.health.actor
        if placement is not None and self.health.requested and placement.granted(actor):
            self.health.placed(placement.node(actor))
            self._spawn_actor()

    def _await_start(self) -> str | None:
        attempt = self._live
        failure, done = self._check(attempt.starting, self._deadlines.start_seconds, "start")
        if done:
            attempt.address, *locations = ray.get(attempt.starting, timeout=1.0)
            attempt.locations = locations[0] if locations else ()
            self.health.started(node_at(attempt.address))
            if self.healthy:
                attempt.running = attempt.handle.run.remote()
        return failure

    def _catch_up(self, current: NumberedUpdate | None) -> str | None:
        """Load the current weights into a worker that has older ones, or none."""
        attempt = self._live
        if attempt.loading is None:
            if current is None:
                return None
            if self._check_weights is None:
                attempt.loading = attempt.handle.load_weights.remote(current.update)
            else:
                attempt.loading = attempt.handle.verify_weights.remote(current.update, reload=True)
            attempt.number = current.number
            self.health.loading_began()
        failure, done = self._check([attempt.loading], self._deadlines.weights_seconds, "weights")
        if done:
            self._record_check(attempt.loading)
            attempt.loading = None
            if current is not None and attempt.number == current.number:  # else it loads the newer ones next
                self.health.weights_loaded()
                attempt.running = attempt.handle.run.remote()
        return failure

    def _record_check(self, call: Any) -> None:
        """Record what a call that has succeeded found, if it was to compare weights."""
        if self._check_weights is not None and isinstance(found := ray.get(call, timeout=1.0), Verification):
            self._check_weights.record(self.health.name, found)

    def _check(self, calls: list[Any], deadline: float, what: str) -> tuple[str | None, bool]:
        """Return why one of the calls failed or is late, and whether all have succeeded."""
        ready, pending = ray.wait(calls, num_returns=len(calls), timeout=0)
        for call in ready:
            failure = outcome(call, 0.0)
            if failure:
                return failure, False
        if not pending:
            return None, True
        late = self.health.seconds > deadline
        return (f"{what} took more than {deadline:.0f} s" if late else None), False
