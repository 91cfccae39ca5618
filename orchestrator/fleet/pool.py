"""Pools of workers of one role: started together, given weights together, and each replaced when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.config import DeadlinesConfig
from common.weights.planner import BroadcastPlanner, Transport, WeightsSource
from orchestrator.fleet.failures import FailureAttribution, lost_nodes, own_node
from orchestrator.fleet.health import Health, StartupBarrier, WorkerHealth
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.weights_check import Verified, WeightsCheck
from orchestrator.fleet.worker import NumberedUpdate, Spawn, Worker

#: Once the sender of a broadcast has ended or given up, its receivers do too within this time, unless they hang.
_BROADCAST_END_SECONDS = 10.0


@dataclass(frozen=True)
class PoolSpec:
    """Describe a pool. The run starts with ``minimum`` workers; None stands for all of them.

    ``transport``: how weights get to workers that need them; ``verify_weights``: they compare them bit for bit.
    """

    role: str
    workers: int
    needs_weights: bool
    minimum: int | None = None
    transport: Transport = "auto"
    verify_weights: bool = False


class WorkerPool:
    """Keep the workers of one role running. :meth:`poll` never blocks; call it often.

    A worker that fails, or misses the deadline of its start or its weights, is replaced under the same consumer
    name, so its successor takes over the messages it held. With ``placement``, workers wait until the cluster has
    resources for them, and those beyond the minimum only request theirs once the others have started.
    """

    def __init__(
        self, spec: PoolSpec, spawn: Spawn, deadlines: DeadlinesConfig, placement: PlacementGroups | None = None
    ) -> None:
        self._spec = spec
        self._deadlines = deadlines
        self._minimum = spec.workers if spec.minimum is None else spec.minimum
        self._weights: NumberedUpdate | None = None
        self._updates = 0
        self._planner = BroadcastPlanner(spec.transport)
        self._attribution = FailureAttribution(own_node(), lost_nodes, time.monotonic)
        self._check = WeightsCheck() if spec.verify_weights else None
        self._workers = [
            Worker(health, spawn, deadlines, placement, self._check)
            for health in (self._health(f"{spec.role}-{i}", placement is not None) for i in range(spec.workers))
        ]
        for worker in self._workers[: self._minimum] if placement else self._workers:
            worker.start()

    @property
    def restarts(self) -> int:
        """Restarts that count against the limit, of all workers."""
        return sum(worker.health.restarts for worker in self._workers)

    @property
    def states(self) -> dict[str, str]:
        """The state of each worker, by its name."""
        return {worker.health.name: str(worker.health.state) for worker in self._workers}

    @property
    def addresses(self) -> list[str]:
        """Metrics endpoints of the live workers."""
        return [worker.address for worker in self._workers if worker.address]

    @property
    def all_healthy(self) -> bool:
        """Whether every worker has started and has the current weights, if it needs any."""
        return all(worker.healthy for worker in self._workers)

    def poll(self) -> list[str]:
        """Move every worker on; return a line for each that failed. Raises TooManyRestartsError."""
        notes = self._attribution.resolve([worker.health for worker in self._workers])
        for worker in self._workers:
            failure = worker.poll(self._weights)
            if failure:
                notes.append(self._replace(worker, failure))
        return notes

    def verified(self) -> list[Verified]:
        """Return what workers have verified of their weights since the last call, once none is about to."""
        about_to = any(worker.health.state in (Health.STARTING, Health.STALE) for worker in self._workers)
        return [] if self._check is None or about_to else self._check.take()

    def wait_until_started(self, check_stop: Callable[[], None]) -> list[str]:
        """Poll until enough workers are past their start (they may still lack weights).

        Raises ConfigError where the cluster has no resources for them.
        """
        spec, notes = self._spec, []
        setting = f"{spec.role}.workers" if spec.minimum is None else f"{spec.role}.min_workers"
        barrier = StartupBarrier(setting, self._minimum, self._deadlines.start_seconds, time.monotonic)
        while not barrier.passed([worker.health.state for worker in self._workers]):
            check_stop()
            notes += self.poll()
            time.sleep(0.05)
        for worker in self._workers:
            if not worker.health.requested:
                worker.start()
        return notes

    def publish(self, source: WeightsSource) -> list[str]:
        """Get the source's weights into all workers and wait for them; late workers are replaced.

        A worker that misses a broadcast but lives takes the weights out of the object store. Returns a line for
        each failure. Raises what the source raises.
        """
        notes = self.poll()  # a broadcast would wait for a worker that has died meanwhile
        self._weights = None  # two versions at once would need twice the memory
        self._updates += 1
        members = [worker for worker in self._workers if worker.healthy]
        plan = self._planner.plan(source, dict(place for worker in members for place in worker.members.items()))
        source.begin_publish(plan)
        if plan is not None:
            for worker in members:
                worker.receive(plan)
        publication = source.end_publish(lambda: _failed_member(members) if plan is not None else None)
        self._weights = NumberedUpdate(self._updates, publication.update)
        version = publication.update.manifest.version
        received: list[Worker] = []
        if plan is not None:
            received, members, failed = self._end_broadcast(members, version)
            notes += failed
            if publication.failure or members or failed:
                self._planner.failed()
                reason = publication.failure or "not all workers took it"
                notes.append(f"weights {version}: broadcast failed ({reason}); the object store makes up for it")
        for worker in members:
            worker.load(publication.update)
        checking = [worker for worker in received if worker.check_broadcast(publication.update)]
        end = time.monotonic() + self._deadlines.weights_seconds
        for worker in [*members, *checking]:
            failure = worker.end_transfer(end - time.monotonic())
            if failure:
                notes.append(self._replace(worker, f"weights {version}: {failure}"))
        return notes

    def stop(self, seconds: float = 0.0) -> None:
        """Ask the loops of all workers to end after their current message; wait for that at most ``seconds``."""
        for worker in self._workers:
            worker.stop()
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.await_end(max(0.0, end - time.monotonic()))

    def _health(self, name: str, needs_placement: bool) -> WorkerHealth:
        limit = self._deadlines.restarts
        return WorkerHealth(name, limit, time.monotonic, self._spec.needs_weights, needs_placement)

    def _end_broadcast(
        self, members: Sequence[Worker], version: int
    ) -> tuple[list[Worker], list[Worker], list[str]]:
        """Return the members that took a broadcast, those that missed it and live, and a line for each other."""
        end = time.monotonic() + _BROADCAST_END_SECONDS
        received, missed, notes = [], [], []
        for worker in members:
            if worker.missed_transfer(end - time.monotonic()):
                missed.append(worker)
            elif failure := worker.end_transfer(0.0):
                notes.append(self._replace(worker, f"weights {version}: {failure}"))
            else:
                received.append(worker)
        return received, missed, notes

    def _replace(self, worker: Worker, reason: str) -> str:
        """End the attempt of a worker, which :meth:`poll` begins anew; return a line about it."""
        worker.kill()
        return worker.health.failed(reason, self._attribution.cause(worker.health.node))


def _failed_member(members: Sequence[Worker]) -> str | None:
    """Return the first member of a broadcast whose receiving has failed, and why."""
    for worker in members:
        failure = worker.transfer_failure()
        if failure:
            return f"{worker.health.name}: {failure}"
    return None
