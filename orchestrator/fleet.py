"""Pools of Ray actors that run a loop: started, given weights, watched, and restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from common.config import DeadlinesConfig
from common.models.weights import WeightsUpdate
from orchestrator.health import Health, WorkerHealth

#: Makes the actor of a worker: (consumer name, actor name) -> handle.
Spawn = Callable[[str, str], Any]


@dataclass
class _Worker:
    health: WorkerHealth
    handle: Any = None
    starting: Any = None
    loading: Any = None
    running: Any = None
    address: str = ""
    restart_at: float = 0.0


class WorkerPool:
    """Workers of one role. :meth:`tend` never blocks; call it often.

    A worker that dies, or misses the deadline of its start or its weights, is replaced under the same consumer
    name, so the messages it held are its successor's.
    """

    def __init__(
        self, role: str, count: int, spawn: Spawn, deadlines: DeadlinesConfig, needs_weights: bool
    ) -> None:
        self._spawn = spawn
        self._deadlines = deadlines
        self._update: WeightsUpdate | None = None
        self._workers = [
            _Worker(WorkerHealth(f"{role}-{i}", deadlines.restarts, time.monotonic, needs_weights))
            for i in range(count)
        ]
        for worker in self._workers:
            self._start(worker)

    @property
    def restarts(self) -> int:
        return sum(worker.health.restarts for worker in self._workers)

    @property
    def addresses(self) -> list[str]:
        """Metrics endpoints of the live workers."""
        return [worker.address for worker in self._workers if worker.address]

    def tend(self) -> list[str]:
        """Move every worker on; returns a line for each that died. Raises TooManyRestartsError."""
        notes = []
        for worker in self._workers:
            failure = self._advance(worker)
            if failure:
                notes.append(self._replace(worker, failure))
        return notes

    def wait_until_started(self, check_stop: Callable[[], None]) -> list[str]:
        """Tend until every worker is past its start (it may still lack weights)."""
        notes: list[str] = []
        while any(worker.health.state in (Health.STARTING, Health.DEAD) for worker in self._workers):
            check_stop()
            notes += self.tend()
            time.sleep(0.05)
        return notes

    def publish(self, update: WeightsUpdate) -> list[str]:
        """Load new weights into all workers and wait for them; late ones are evicted and restarted."""
        self._update = update
        loading = []
        for worker in self._workers:
            if worker.health.state is Health.HEALTHY:
                worker.loading = worker.handle.load_weights.remote(update)
                loading.append(worker)
        end = time.monotonic() + self._deadlines.weights_seconds
        notes = []
        for worker in loading:
            failure = _outcome(worker.loading, max(0.0, end - time.monotonic()))
            worker.loading = None
            if failure:
                notes.append(self._replace(worker, f"weights {update.manifest.version}: {failure}"))
        return notes

    def stop(self) -> None:
        """Ask all loops to end after their current message."""
        for worker in self._workers:
            if worker.health.state is Health.HEALTHY:
                worker.handle.stop.remote()

    def _start(self, worker: _Worker) -> None:
        health = worker.health
        suffix = f"-restart-{health.restarts}" if health.restarts else ""
        worker.handle = self._spawn(health.name, health.name + suffix)
        worker.starting = worker.handle.metrics_address.remote()
        worker.loading = worker.running = None

    def _advance(self, worker: _Worker) -> str | None:
        """One step of the worker's life; the reason if it failed."""
        health = worker.health
        if health.state is Health.DEAD:
            if time.monotonic() >= worker.restart_at:
                health.restarted()
                self._start(worker)
        elif health.state is Health.STARTING:
            failure, done = self._poll(worker.starting, health, self._deadlines.start_seconds, "start")
            if done:
                worker.address = ray.get(worker.starting)
                health.started()
                if not health.needs_weights:
                    worker.running = worker.handle.run.remote()
            return failure
        elif health.state is Health.STALE and self._update is not None:
            if worker.loading is None:
                worker.loading = worker.handle.load_weights.remote(self._update)
                health.since = time.monotonic()
            failure, done = self._poll(worker.loading, health, self._deadlines.weights_seconds, "weights")
            if done:
                worker.loading = None
                health.weights_loaded()
                worker.running = worker.handle.run.remote()
            return failure
        elif health.state is Health.HEALTHY:
            return _outcome(worker.running, 0.0, pending=None)
        return None

    def _poll(self, reference: Any, health: WorkerHealth, deadline: float, what: str) -> tuple[str | None, bool]:
        ready, _ = ray.wait([reference], timeout=0)
        if ready:
            failure = _outcome(reference, 0.0)
            return failure, failure is None
        late = time.monotonic() - health.since > deadline
        return (f"{what} took more than {deadline:.0f} s" if late else None), False

    def _replace(self, worker: _Worker, reason: str) -> str:
        health = worker.health
        ray.kill(worker.handle)
        worker.address = ""
        worker.restart_at = time.monotonic() + health.died(reason)
        return f"{health.name} died ({reason}); restart {health.restarts}"


def _outcome(reference: Any, timeout: float, pending: str | None = "no answer before the deadline") -> str | None:
    """None if the call succeeded, else why not; ``pending`` if it has not returned."""
    ready, _ = ray.wait([reference], timeout=timeout)
    if not ready:
        return pending
    try:
        ray.get(reference, timeout=1.0)
    except (RayError, GetTimeoutError) as error:
        return last_line(error)
    return None


def last_line(error: BaseException) -> str:
    """The last line of an error's text; Ray puts the cause there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
