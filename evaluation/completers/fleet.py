"""Completions by several workers at once, each of them an actor with a completer of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from common.config import DeadlinesConfig
from common.errors import RunFailedError, UserError
from common.records import NoiseKey
from evaluation.completers.interface import Batch, Completed, Steps
from evaluation.settings import AnySampler
from rollout_workers.requests import Request

_POLL_SECONDS = 0.2
#: Fetching an answer that is there.
_FETCH_SECONDS = 60.0
#: Workers are given this long to end the processes that they have started.
_END_SECONDS = 20.0

#: Makes a worker, an actor of the class ``CompletionWorker``, by its name.
Spawn = Callable[[str], Any]


class WorkerFailedError(RunFailedError):
    """A worker of an evaluation failed again and again."""


@dataclass
class _Worker:
    """An actor, the call that it answers until ``deadline``, if any, and the batch that it completes, if any.

    ``failures``: its own and those of its predecessors, since one of them has finished something.
    """

    name: str
    actor: Any
    failures: int
    batch: Batch | None = None
    call: Any = None
    deadline: float = 0.0

    def ask(self, seconds: float, method: str, *arguments: Any) -> None:
        self.call = getattr(self.actor, method).remote(*arguments)
        self.deadline = time.monotonic() + seconds


class FleetCompleter:
    """Hands batches to ``workers`` actors; what a batch gets is what a completer in this process gives it.

    A worker that dies or misses a deadline is replaced, and its batch begun again; ``note`` is told. ``check`` is
    called several times a second while waiting for workers, and may raise. Raises the UserError that a worker
    meets, such as a model that cannot be loaded, and WorkerFailedError.
    """

    def __init__(
        self,
        workers: int,
        spawn: Spawn,
        deadlines: DeadlinesConfig,
        note: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._spawn = spawn
        self._deadlines = deadlines
        self._note = note
        self._check = check
        self._numbers = count()
        self._workers: list[_Worker] = []
        self._waiting: deque[Batch] = deque()
        with ExitStack() as failed:
            failed.callback(self.close)
            for _ in range(workers):
                self._workers.append(self._start(failures=0))
            while any(worker.call is not None for worker in self._workers):
                self._collect()
            failed.pop_all()

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Split requests as the completer of a worker does."""
        while True:
            while self._workers[0].call is not None:  # one that replaced another has its model to load first
                self._collect()
            asked = self._workers[0].actor.batches.remote(requests, sampler)
            try:
                found: list[Batch] = ray.get(asked, timeout=self._deadlines.start_seconds)
            except RayError as error:
                self._replace(self._workers[0], error)
            else:
                return found

    def complete(self, batches: Sequence[Batch], sampler: AnySampler) -> Steps:
        self._waiting.extend(batches)
        seen: set[NoiseKey] = set()  # a batch that is begun again finishes some once more
        try:
            while self._waiting or any(worker.batch is not None for worker in self._workers):
                for worker in self._workers:
                    if self._waiting and worker.call is None:
                        worker.batch = self._waiting.popleft()
                        worker.ask(self._deadlines.step_seconds, "begin", worker.batch, sampler)
                for step in self._collect():
                    finished = [done for done in step if done.request.key not in seen]
                    seen |= {done.request.key for done in finished}
                    yield finished
        finally:
            self._waiting.clear()
            for worker in self._workers:
                worker.batch = None  # an answer that is still to come is of no use to anybody

    def close(self) -> None:
        """Have the workers release their models, and end them."""
        calls = [worker.actor.close.remote() for worker in self._workers]
        if calls:
            ray.wait(calls, num_returns=len(calls), timeout=_END_SECONDS)
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers = []

    def _start(self, failures: int) -> _Worker:
        name = f"evaluation-{next(self._numbers)}"
        worker = _Worker(name, self._spawn(name), failures)
        worker.ask(self._deadlines.start_seconds, "load")
        return worker

    def _collect(self) -> list[tuple[Completed, ...]]:
        """Wait a little for answers, and return what each step finished; replace workers that failed."""
        self._check()
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        ready, pending = ray.wait(list(calls), timeout=_POLL_SECONDS)
        now = time.monotonic()
        for call in pending:
            if now > calls[call].deadline:
                self._replace(calls[call], None)
        return [step for call in ready for step in self._take(calls[call])]

    def _take(self, worker: _Worker) -> Sequence[tuple[Completed, ...]]:
        """Take in the answer of a worker, and have it go on with its batch."""
        call, worker.call = worker.call, None
        try:
            progress = ray.get(call, timeout=_FETCH_SECONDS)
        except RayError as error:
            self._replace(worker, error)
            return ()
        if worker.batch is None:  # it has loaded its model, or the batch is not wanted any more
            return ()
        steps: Sequence[tuple[Completed, ...]] = progress.steps
        if any(steps):
            worker.failures = 0
        if progress.complete:
            worker.batch = None
        else:
            worker.ask(self._deadlines.step_seconds, "advance")
        return steps

    def _replace(self, worker: _Worker, error: RayError | None) -> None:
        """End a worker, which failed by an error or missed its deadline, and start another for its batch.

        Raises UserError for an error that others would meet as well, and WorkerFailedError.
        """
        if isinstance(error, RayTaskError) and isinstance(error.cause, UserError):
            raise error.cause from error
        ray.kill(worker.actor)
        reason = "no answer before the deadline" if error is None else _last_line(error)
        if worker.failures >= self._deadlines.restarts:
            raise WorkerFailedError(
                f"{worker.name} failed, as did {worker.failures} before it, and none finished anything: {reason}"
            )
        if worker.batch is not None:
            self._waiting.appendleft(worker.batch)
        other = self._start(worker.failures + 1)
        self._workers[self._workers.index(worker)] = other
        self._note(f"{worker.name} failed ({reason}); {other.name} takes its place")


def _last_line(error: RayError) -> str:
    """Return the last line of an error's text, where Ray puts the cause."""
    return str(error).strip().rpartition("\n")[2][:300]
