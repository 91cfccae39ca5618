"""Pools of workers of one role: started together, given weights together, and each replaced when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.actors import own_node
from common.config import DeadlinesConfig
from common.turns import Turn
from common.weights.messages import Plan, WeightsUpdate
from common.weights.planner import BroadcastPlanner, Transport, WeightsSource
from orchestrator.fleet.failures import FailureAttribution, lost_nodes
from orchestrator.fleet.health import Health, RestartBudget, StartupBarrier, WorkerHealth
from orchestrator.fleet.hung_processes import HungProcesses
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.published import PublishedWeights
from orchestrator.fleet.weights_check import Verified, WeightsCheck
from orchestrator.fleet.worker import Spawn, Worker

_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class PoolSpec:
    """Describe a pool. The run starts with ``minimum`` workers; None stands for all of them.

    ``transport``: how weights get to workers that need them; ``verify_weights``: they compare them bit for bit.
    ``takes_turns``: their devices are the learner's as well.
    """

    role: str
    workers: int
    needs_weights: bool
    minimum: int | None = None
    transport: Transport = "auto"
    verify_weights: bool = False
    takes_turns: bool = False


class WorkerPool:
    """Keep the workers of one role running. :meth:`poll` never blocks; call it often.

    A worker that fails, hangs, or misses the deadline of its start or its first weights is replaced under the same
    consumer name, so its successor takes over the messages it held. The stacks of one that hangs are written into
    the folder ``stacks``. With ``placement``, workers wait until the cluster has
    resources for them, and those beyond the minimum only request theirs once the others have started.
    """

    def __init__(
        self,
        spec: PoolSpec,
        spawn: Spawn,
        deadlines: DeadlinesConfig,
        placement: PlacementGroups | None = None,
        stacks: Path | None = None,
    ) -> None:
        self._spec = spec
        self._deadlines = deadlines
        self._minimum = spec.workers if spec.minimum is None else spec.minimum
        self._published = PublishedWeights()
        self._version = -1
        self._planner = BroadcastPlanner(spec.transport)
        self._no_room = ""
        self._awake, self._dismissed = True, False
        self._attribution = FailureAttribution(own_node(), lost_nodes, time.monotonic)
        self._check = WeightsCheck() if spec.verify_weights else None
        self._workers = [
            Worker(health, spawn, deadlines, HungProcesses(stacks), placement, self._check, spec.takes_turns)
            for health in (self._health(f"{spec.role}-{i}", placement is not None) for i in range(spec.workers))
        ]
        for worker in self._workers[: self._minimum] if placement else self._workers:
            worker.start()

    @property
    def restarts(self) -> int:
        """Restarts of all workers that were not their nodes' fault."""
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
        """Whether every worker has started and holds the weights that it is to hold, if it needs any."""
        return self._is_reached and all(worker.healthy for worker in self._workers)

    @property
    def has_target(self) -> bool:
        """Whether some worker holds the weights that all are to hold, or is loading them."""
        target = self._published.target
        return target is not None and any(worker.gets(target.number) for worker in self._workers)

    def poll(self) -> list[str]:
        """Move every worker on; return a line for each that failed. Raises TooManyRestartsError."""
        if self._dismissed:
            return []
        notes = self._attribution.resolve([worker.health for worker in self._workers])
        for worker in self._workers:
            failure = worker.poll(self._published.target, self._awake)
            if failure:
                notes.append(self._replace(worker, failure))
            notes += worker.notes()
        return notes

    def measured(self, name: str) -> list[float]:
        """Return what the workers have measured last under a name, those that have."""
        return [worker.measures[name] for worker in self._workers if name in worker.measures]

    def verified(self) -> list[Verified]:
        """Return what workers have verified of their weights since the last call, once none is about to."""
        about_to = any(
            worker.health.state in (Health.STARTING, Health.STALE) or worker.comparing for worker in self._workers
        )
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
            time.sleep(_TICK_SECONDS)
        for worker in self._workers:
            if not worker.health.requested:
                worker.start()
        return notes

    def publish(self, source: WeightsSource, watch: Callable[[], None]) -> list[str]:
        """Publish the source's weights; workers take them when they can, as they are polled.

        The source waits for no worker, but for the receivers of a broadcast, and for them no longer than they
        need to let go of their weights. Whoever misses a broadcast reads the weights where they were put. Only
        where the weights are older than the last ones, of a learner that has fallen back, does this wait for the
        workers: none may serve a group of the past with weights of the future. ``watch`` is called meanwhile.
        Returns a line for each failure. Raises what the source raises, and TooManyRestartsError.
        """
        notes = self.poll()  # a broadcast would wait for a worker that has died meanwhile
        number = self._published.begin()
        members = [worker for worker in self._workers if worker.healthy and not worker.loading]
        places = {name: place for worker in members for name, place in worker.members.items()}
        plan = None if self._published.held or not self._awake else self._planner.plan(source, places)
        update = self._offered(source, plan, notes) if self._planner.shares else None
        source.begin_publish(plan)
        if plan is not None:
            for worker in members:
                worker.receive(plan, number, source.version)
        elif update is not None:
            self._published.end(update)
            notes += self.poll()  # workers load what comes, while the rest is still being filled
        publication = source.end_publish(lambda: _failed_member(members) if plan is not None else None)
        newest = self._published.end(publication.update)
        if publication.failure is not None:
            self._planner.failed()
            why = publication.failure
            notes.append(f"weights {newest.version}: broadcast failed ({why}); workers read them instead")
        notes += self.poll()
        if newest.version < self._version and self._awake:
            notes += self._await_target(watch)
        self._version = newest.version
        return notes

    def _offered(self, source: WeightsSource, plan: Plan | None, notes: list[str]) -> WeightsUpdate | None:
        """Return where the source will put its weights; None, said once, where there is no shared memory."""
        offer = source.offer(plan, self._published.shared)
        if offer.update is None and not self._no_room:
            self._no_room = offer.reason
            notes.append(f"weights go through Ray's object store: {offer.reason}")
        return offer.update

    def sleep(self, watch: Callable[[], None]) -> tuple[list[str], dict[str, Turn]]:
        """Have no worker hold memory of its device; wait for those that do, a batch under way included.

        Workers have deadlines for all that this may take. ``watch`` is called meanwhile. Returns a line for each
        failure, and the turns that ended, by the names of their actors. Raises TooManyRestartsError.
        """
        self._awake, notes = False, list[str]()
        while True:
            notes += self.poll()
            if all(worker.rests for worker in self._workers):
                break
            watch()
            time.sleep(_TICK_SECONDS)
        turns = {worker.health.actor: turn for worker in self._workers if (turn := worker.take_turn()) is not None}
        return notes, turns

    def wake(self) -> list[str]:
        """Have workers load the weights that they are to hold; return a line for each failure."""
        self._awake = True
        return self.poll()

    def dismiss(self) -> None:
        """Kill all workers at once: the run ends, and the learner needs their devices."""
        self._dismissed = True
        for worker in self._workers:
            worker.dismiss()

    def hold(self) -> None:
        """Have workers keep the newest weights, and load no newer ones, until :meth:`release`."""
        self._published.hold()

    def release(self) -> None:
        """Have workers take the newest weights again."""
        self._published.release()

    def _await_target(self, watch: Callable[[], None]) -> list[str]:
        """Poll until every worker that works holds the target, at most as long as a batch and loading may take."""
        notes: list[str] = []
        end = time.monotonic() + self._deadlines.step_seconds + self._deadlines.weights_seconds
        while time.monotonic() < end and not self._is_reached:
            watch()
            notes += self.poll()
            time.sleep(_TICK_SECONDS)
        return notes

    @property
    def _is_reached(self) -> bool:
        target = self._published.target
        return target is None or all(w.holds(target.number) for w in self._workers if w.healthy)

    def stop(self, seconds: float = 0.0) -> None:
        """Ask the loops of all workers to end after their current message; wait for that at most ``seconds``."""
        for worker in self._workers:
            worker.stop()
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.await_end(max(0.0, end - time.monotonic()))

    def _health(self, name: str, needs_placement: bool) -> WorkerHealth:
        budget = RestartBudget.of(self._deadlines)
        return WorkerHealth(name, budget, time.monotonic, self._spec.needs_weights, needs_placement)

    def _replace(self, worker: Worker, reason: str) -> str:
        """End the attempt of a worker, which :meth:`poll` begins anew; return a line about it."""
        worker.kill()
        return worker.health.failed(reason, self._attribution.cause(worker.health.node))


def _failed_member(members: Sequence[Worker]) -> str | None:
    """Return the first member of a broadcast whose receiving has failed, or that hangs, and why."""
    for worker in members:
        failure = worker.transfer_failure()
        if failure is not None:
            return f"{worker.health.name}: {failure}"
    return None
