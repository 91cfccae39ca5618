"""Pools of Ray actors that run a loop: started, given weights, watched, and restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from common.config import DeadlinesConfig
from common.weights.broadcast import Location
from common.weights.buckets import WeightsUpdate
from common.weights.planner import BroadcastPlanner, Transport, WeightsSource
from orchestrator.fleet.calls import outcome, raised
from orchestrator.fleet.failures import Deaths, lost_nodes, node_at, own_node
from orchestrator.fleet.health import Health, Muster, WorkerHealth
from orchestrator.fleet.placement import Rooms

#: Makes the actor of a worker: (consumer name, actor name) -> handle.
Spawn = Callable[[str, str], Any]

#: Once the sender of a broadcast is through, or has given up, its receivers are too, unless they hang.
_SETTLE_SECONDS = 10.0


@dataclass
class _Worker:
    """``update`` numbers the weights that ``loading`` loads."""

    health: WorkerHealth
    actor: str = ""
    handle: Any = None
    starting: Any = None
    loading: Any = None
    update: int = 0
    running: Any = None
    address: str = ""
    node: str = ""
    location: Location | None = None
    restart_at: float = 0.0
    lives: int = 0


class WorkerPool:
    """Workers of one role. :meth:`tend` never blocks; call it often.

    A worker that dies, or misses the deadline of its start or its weights, is replaced under the same consumer
    name, so the messages it held are its successor's. With ``rooms``, workers wait until the cluster has one for
    them, and those beyond ``minimum`` only ask for one once the others are there.
    """

    def __init__(
        self,
        role: str,
        count: int,
        spawn: Spawn,
        deadlines: DeadlinesConfig,
        needs_weights: bool,
        transport: Transport = "auto",
        rooms: Rooms | None = None,
        minimum: int | None = None,
    ) -> None:
        self._spawn = spawn
        self._rooms = rooms
        self._minimum = count if minimum is None else minimum
        self._setting = f"{role}.workers" if minimum is None else f"{role}.min_workers"
        self._complete = False
        self._deadlines = deadlines
        self._update: WeightsUpdate | None = None
        self._updates = 0
        self._planner = BroadcastPlanner(transport)
        self._deaths = Deaths(own_node(), lost_nodes, time.monotonic)
        self._workers = [
            _Worker(
                WorkerHealth(f"{role}-{i}", deadlines.restarts, time.monotonic, needs_weights, rooms is not None)
            )
            for i in range(count)
        ]
        for worker in self._workers[: self._minimum] if rooms else self._workers:
            self._start(worker)

    @property
    def restarts(self) -> int:
        """Those that count against the limit."""
        return sum(worker.health.restarts for worker in self._workers)

    @property
    def states(self) -> dict[str, str]:
        """What each worker is at."""
        return {worker.health.name: str(worker.health.state) for worker in self._workers}

    @property
    def addresses(self) -> list[str]:
        """Metrics endpoints of the live workers."""
        return [worker.address for worker in self._workers if worker.address]

    @property
    def all_healthy(self) -> bool:
        """Whether every worker works, or could: started, and with weights if it needs them."""
        return all(worker.health.state is Health.HEALTHY for worker in self._workers)

    def tend(self) -> list[str]:
        """Move every worker on; returns lines about those that died. Raises TooManyRestartsError."""
        notes = self._deaths.settle()
        for worker in self._workers:
            failure = self._advance(worker)
            if failure:
                notes.append(self._replace(worker, failure))
        return notes

    def wait_until_started(self, check_stop: Callable[[], None]) -> list[str]:
        """Tend until enough workers are past their start (they may still lack weights).

        Raises ConfigError where the cluster has no room for them.
        """
        notes: list[str] = []
        muster = Muster(self._setting, self._minimum, self._deadlines.start_seconds, time.monotonic)
        while not muster.complete([worker.health for worker in self._workers]):
            check_stop()
            notes += self.tend()
            time.sleep(0.05)
        self._complete = True
        return notes

    def publish(self, source: WeightsSource) -> list[str]:
        """Get the source's weights into all workers and wait for them; late ones are evicted and restarted.

        Whoever misses a broadcast but lives takes the weights out of the object store. Raises what the source
        raises.
        """
        notes = self.tend()  # a broadcast would wait for a worker that has died meanwhile
        self._update = None  # two versions at once would need twice the memory
        self._updates += 1
        members = [worker for worker in self._workers if worker.health.state is Health.HEALTHY]
        plan = self._planner.plan(source, {w.actor: w.location for w in members if w.location is not None})
        source.begin_publish(plan)
        if plan is not None:
            for rank, worker in enumerate(members, 1):
                worker.loading = worker.handle.receive_weights.remote(plan, rank)
        publication = source.end_publish(lambda: _casualty(members) if plan is not None else None)
        self._update = update = publication.update
        version = update.manifest.version
        if plan is not None:
            members, replaced = self._settle(members, version)
            notes += replaced
            if publication.failure or members or replaced:
                self._planner.failed()
                reason = publication.failure or "not all workers took it"
                notes.append(f"weights {version}: broadcast failed ({reason}); the object store makes up for it")
        for worker in members:
            worker.loading = worker.handle.load_weights.remote(update)
        end = time.monotonic() + self._deadlines.weights_seconds
        for worker in members:
            failure = outcome(worker.loading, max(0.0, end - time.monotonic()))
            worker.loading = None
            if failure:
                notes.append(self._replace(worker, f"weights {version}: {failure}"))
        return notes

    def stop(self) -> None:
        """Ask all loops to end after their current message."""
        for worker in self._workers:
            if worker.health.state is Health.HEALTHY:
                worker.handle.stop.remote()

    def _start(self, worker: _Worker) -> None:
        """Ask for a room, or spawn the actor where none is needed."""
        worker.lives += 1
        worker.actor = worker.health.name + (f"-restart-{worker.lives - 1}" if worker.lives > 1 else "")
        if self._rooms is None:
            self._spawn_actor(worker)
        else:
            self._rooms.reserve(worker.actor)

    def _spawn_actor(self, worker: _Worker) -> None:
        health = worker.health
        worker.handle = self._spawn(health.name, worker.actor)
        worker.starting = [worker.handle.metrics_address.remote()]
        if health.needs_weights:
            worker.starting.append(worker.handle.location.remote())
        worker.loading = worker.running = None

    def _advance(self, worker: _Worker) -> str | None:
        """One step of the worker's life; the reason if it failed."""
        health = worker.health
        if health.state is Health.DEAD:
            if time.monotonic() >= worker.restart_at:
                health.restarted()
                self._start(worker)
        elif health.state is Health.WAITING:
            if not worker.actor:
                if self._complete:
                    self._start(worker)
            elif self._rooms is not None and self._rooms.granted(worker.actor):
                health.placed()
                worker.node = self._rooms.node(worker.actor)
                self._spawn_actor(worker)
        elif health.state is Health.STARTING:
            failure, done = self._poll(worker.starting, health, self._deadlines.start_seconds, "start")
            if done:
                worker.address, *locations = ray.get(worker.starting, timeout=1.0)
                worker.location = locations[0] if locations else None
                worker.node = node_at(worker.address) or worker.node
                health.started()
                if not health.needs_weights:
                    worker.running = worker.handle.run.remote()
            return failure
        elif health.state is Health.STALE:
            return self._catch_up(worker)
        elif health.state is Health.HEALTHY:
            return outcome(worker.running, 0.0, pending=None)
        return None

    def _catch_up(self, worker: _Worker) -> str | None:
        """Load the current weights into a worker that has none; the reason if that failed."""
        health = worker.health
        if worker.loading is None:
            if self._update is None:
                return None
            worker.loading = worker.handle.load_weights.remote(self._update)
            worker.update = self._updates
            health.since = time.monotonic()
        failure, done = self._poll([worker.loading], health, self._deadlines.weights_seconds, "weights")
        if done:
            worker.loading = None
            if worker.update == self._updates:  # else newer ones have come, and it loads those
                health.weights_loaded()
                worker.running = worker.handle.run.remote()
        return failure

    def _settle(self, members: list[_Worker], version: int) -> tuple[list[_Worker], list[str]]:
        """After a broadcast: the members that missed it and live, and a line for each that was replaced."""
        end = time.monotonic() + _SETTLE_SECONDS
        missed, notes = [], []
        for worker in members:
            ready, _ = ray.wait([worker.loading], timeout=max(0.0, end - time.monotonic()))
            if ready and raised(worker.loading):
                missed.append(worker)
            elif failure := outcome(worker.loading, 0.0):
                notes.append(self._replace(worker, f"weights {version}: {failure}"))
            worker.loading = None
        return missed, notes

    def _poll(
        self, references: list[Any], health: WorkerHealth, deadline: float, what: str
    ) -> tuple[str | None, bool]:
        ready, pending = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            failure = outcome(reference, 0.0)
            if failure:
                return failure, False
        if not pending:
            return None, True
        late = time.monotonic() - health.since > deadline
        return (f"{what} took more than {deadline:.0f} s" if late else None), False

    def _replace(self, worker: _Worker, reason: str) -> str:
        ray.kill(worker.handle)
        if self._rooms is not None:
            self._rooms.give_back(worker.actor)
        wait, note = self._deaths.record(worker.health, worker.node, reason)
        worker.address = worker.node = ""
        worker.restart_at = time.monotonic() + wait
        return note


def _casualty(members: list[_Worker]) -> str | None:
    """The first of the members whose receiving has failed, and why."""
    for worker in members:
        failure = outcome(worker.loading, 0.0, pending=None)
        if failure:
            return f"{worker.health.name}: {failure}"
    return None
