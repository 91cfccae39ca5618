"""DeepSpeed ranks as one group: started together, stepped together, replaced together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from common.config import RunSettings
from common.errors import RunFailedError, UserError
from learner.checkpoints import adopt, latest_checkpoint, newest_whole
from orchestrator.fleet.failure_log import why
from orchestrator.fleet.health import Health, RestartBudget, RestartLimit
from orchestrator.fleet.hung_processes import HungProcesses
from orchestrator.fleet.spawning import Spawner
from orchestrator.fleet.watch import ActorWatch

_TICK_SECONDS = 0.2
#: When a rank fails, its peers fail too, some of them before Ray knows of a dead process.
_GRACE_SECONDS = 3.0
#: What a run says of :attr:`RankGroup.leaving`.
LEAVING_NOTE = "a pod of the learner is about to be taken away"


class LearnerDiedError(RunFailedError):
    """A rank died or hung; the message names it."""


class Report(Protocol):
    """What rank 0 tells of a step."""

    @property
    def version(self) -> int:
        """Versions of the weights, this step's included."""


_Report = TypeVar("_Report", bound=Report)


class RankGroup(Generic[_Report]):
    """Drive all ranks of a run. A failed rank fails the group, which restarts from the last checkpoint."""

    def __init__(self, config: RunSettings, spawn: Spawner, check_stop: Callable[[], None]) -> None:
        self._deadlines = config.deadlines
        self._count = config.learner.ranks
        self._checkpoints = config.folder / "checkpoints"
        self._check_stop = check_stop
        self._spawn = spawn
        self._hung = HungProcesses(config.folder / "stacks")
        self._ranks: list[Any] = []
        self._names: list[str] = []
        self._watches: list[ActorWatch] = []
        self._notes: list[str] = []
        self._stepping: list[Any] = []
        self._under_way: list[Any] = []
        self._limit = RestartLimit("the learner", RestartBudget.of(config.deadlines), time.monotonic)
        self.addresses: list[str] = []
        self.version = 0

    @property
    def name(self) -> str:
        """Name of rank 0's actor; another one after each restart."""
        return self._names[0]

    @property
    def restarts(self) -> int:
        """Restarts of the group so far."""
        return self._limit.used

    @property
    def states(self) -> dict[str, str]:
        """The state of each rank, by the name of its actor."""
        return dict.fromkeys(self._names, str(Health.HEALTHY if self.addresses else Health.STARTING))

    def start(self, checkpoint: Path | None, watch: Callable[[], None] | None = None) -> None:
        """Spawn and join the ranks, from ``checkpoint`` or from the model; call ``watch`` meanwhile.

        Raises LearnerDiedError.
        """
        suffix = f"-restart-{self.restarts}" if self.restarts else ""
        self._names = [f"learner-{rank}{suffix}" for rank in range(self._count)]
        self._ranks = [self._spawn(rank, name) for rank, name in enumerate(self._names)]
        self._watches = [ActorWatch(rank, self._deadlines.heartbeat_seconds) for rank in self._ranks]
        self._stepping, self._under_way = [], []
        self.addresses = []
        deadline = self._deadlines.start_seconds
        rendezvous = self._get([self._ranks[0].rendezvous.remote()], deadline, watch)[0]
        versions = self._get([rank.start.remote(rendezvous, checkpoint) for rank in self._ranks], deadline, watch)
        self.version = versions[0]
        self.addresses = self._get([rank.metrics_address.remote() for rank in self._ranks], deadline)

    @property
    def leaving(self) -> bool:
        """Whether the pod of a rank is about to be taken away."""
        return any(watch.last is not None and watch.last.leaving for watch in self._watches)

    def watch(self) -> None:
        """Ask the ranks for their heartbeats. Never waits. Raises LearnerDiedError where one hangs."""
        reasons = {
            rank: reason for rank, watch in enumerate(self._watches) if (reason := watch.poll()) is not None
        }
        if reasons:
            raise LearnerDiedError(self._end_hung(reasons))

    def notes(self) -> list[str]:
        """Return the lines that the ranks have left for the user since the last call."""
        notes, self._notes = self._notes, []
        return notes + [note for watch in self._watches for note in watch.notes()]

    def begin_step(self, checkpoint: bool) -> None:
        """Begin a step, with ``checkpoint`` after a checkpoint of the steps before it."""
        self._stepping = [rank.step.remote(checkpoint) for rank in self._ranks]

    def poll_step(self, wait: float) -> _Report | None:
        """Wait up to ``wait`` seconds for all ranks; return rank 0's report, None if they are not done.

        Raises LearnerDiedError.
        """
        end = time.monotonic() + wait
        while True:
            ready, pending = ray.wait(self._stepping, num_returns=len(self._stepping), timeout=wait)
            self._check(self._stepping, ready)
            self.watch()
            if not pending:
                return self._end_step(1.0)
            if time.monotonic() >= end:
                return None

    def interrupt(self) -> _Report | None:
        """Have the ranks end what they do, so that they can write a checkpoint; return the report of a step.

        Raises LearnerDiedError.
        """
        deadline = self._deadlines.step_seconds
        report = self._end_step(deadline) if self._stepping else None
        self._get(self._under_way, deadline)
        self._under_way = []
        return report

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained. Raises LearnerDiedError."""
        if not self.addresses:
            raise LearnerDiedError("the learner was being started")
        self._together("checkpoint", deadline=self._deadlines.step_seconds)

    def export(self, folder: Path) -> None:
        """Write the weights as a Hugging Face folder."""
        self._together("export", folder, deadline=self._deadlines.step_seconds)

    def restart(self, reason: str, watch: Callable[[], None] | None = None) -> str:
        """Replace all ranks from the last checkpoint, and call ``watch`` meanwhile; return a line about it.

        Raises TooManyRestartsError, or LearnerDiedError for the new ranks.
        """
        self._limit.count(reason)
        for rank, watched in zip(self._ranks, self._watches, strict=True):
            self._notes += watched.notes()
            ray.kill(rank)
            self._hung.end(watched.last)
        checkpoint, damaged = latest_checkpoint(self._checkpoints), list[str]()
        if checkpoint is not None:
            checkpoint, damaged = newest_whole(checkpoint)
            if damaged:
                adopt(self._checkpoints, checkpoint)
        self.start(checkpoint, watch)
        return "; ".join(
            [f"learner died ({reason})", *damaged, f"restart {self.restarts} from version {self.version}"]
        )

    def _together(
        self, method: str, *arguments: Any, deadline: float, watch: Callable[[], None] | None = None
    ) -> list[Any]:
        """Call a method of all ranks; return the results.

        What an exception of ``watch`` leaves under way, :meth:`interrupt` waits for: ranks do one thing at a time.
        """
        self._under_way = [getattr(rank, method).remote(*arguments) for rank in self._ranks]
        results = self._get(self._under_way, deadline, watch)
        self._under_way = []
        return results

    def _end_step(self, deadline: float, watch: Callable[[], None] | None = None) -> _Report | None:
        """Wait for the step under way; return rank 0's report, None if the step was not to begin."""
        report: _Report | None = self._get(self._stepping, deadline, watch)[0]
        self._stepping = []
        if report is not None:
            self.version = report.version
        return report

    def _get(self, calls: list[Any], deadline: float, watch: Callable[[], None] | None = None) -> list[Any]:
        """Return the results of one call of each rank, or of the first ranks; call ``watch`` meanwhile.

        What ``watch`` waits for, such as Redis, the ranks may need as well: that time does not count. Raises
        LearnerDiedError.
        """
        end = time.monotonic() + deadline
        pending = calls
        while pending:
            self._check_stop()
            if watch is not None:
                called = time.monotonic()
                watch()
                end += time.monotonic() - called
            if time.monotonic() > end:
                late = [rank for rank, call in enumerate(calls) if call in pending]
                raise LearnerDiedError(self._end_hung(dict.fromkeys(late, f"no result within {deadline:.0f} s")))
            self.watch()
            done, pending = ray.wait(pending, timeout=_TICK_SECONDS)
            self._check(calls, done)
        results: list[Any] = ray.get(calls, timeout=deadline)
        return results

    def _end_hung(self, reasons: dict[int, str]) -> str:
        """Kill ranks that hang; say of each why, and what was found of it."""
        killings = {}
        for rank in reasons:
            beat = self._watches[rank].last or self._hung.find(self._names[rank])
            if beat is not None:
                killings[rank] = self._hung.kill(self._names[rank], beat)
        found = {rank: f"; {killing.wait()}" for rank, killing in killings.items()}
        return "; ".join(
            f"{self._names[rank]} hung: {reason}{found.get(rank, '')}" for rank, reason in reasons.items()
        )

    def _check(self, calls: list[Any], done: list[Any]) -> None:
        """Raise LearnerDiedError if a call that is done failed, or an error that a restart would only meet again.

        The error names the rank whose process died, if there is one, before ranks that failed for lack of it.
        """
        first = failures = self._failures(calls, done)
        if not first:
            return
        end = time.monotonic() + _GRACE_SECONDS
        pending = calls
        while pending and not _dead(failures) and not _final_cause(failures) and time.monotonic() < end:
            self._check_stop()
            done, pending = ray.wait(calls, num_returns=len(calls), timeout=_TICK_SECONDS)
            failures = self._failures(calls, done)
        lasting = _final_cause(failures)
        if lasting is not None:
            raise lasting
        name, error = next(iter((_dead(failures) or first).items()))
        raise LearnerDiedError(f"{name}: {why(error)}") from error

    def _failures(self, calls: list[Any], done: list[Any]) -> dict[str, RayError]:
        failures = {}
        for name, call in zip(self._names, calls, strict=False):
            if call in done:
                try:
                    ray.get(call, timeout=1.0)
                except RayError as error:
                    failures[name] = error
        return failures


def start_ranks(
    ranks: RankGroup[Any], checkpoint: Path | None, watch: Callable[[], None], note: Callable[[str], None]
) -> None:
    """Start the ranks, and call ``watch`` meanwhile; if one dies or hangs, again, as often as they may restart.

    Raises TooManyRestartsError, or the UserError that a rank fails with.
    """
    try:
        ranks.start(checkpoint, watch)
    except LearnerDiedError as error:
        _restart(ranks, error, watch, note)


def _restart(
    ranks: RankGroup[Any],
    failure: LearnerDiedError,
    watch: Callable[[], None] | None,
    note: Callable[[str], None],
) -> None:
    """Restart the ranks until they have started."""
    while True:
        try:
            note(ranks.restart(str(failure), watch))
        except LearnerDiedError as error:
            failure = error
        else:
            return


def export_model(ranks: RankGroup[Any], target: Path, note: Callable[[str], None]) -> None:
    """Export the weights; if a rank dies over it, from the last checkpoint, which holds them too.

    Raises TooManyRestartsError.
    """
    while True:
        try:
            ranks.export(target)
        except LearnerDiedError as error:
            _restart(ranks, error, None, note)
        else:
            return


def _dead(failures: dict[str, RayError]) -> dict[str, RayError]:
    """Return the failures that are no exception of the rank's own: its process is gone."""
    return {name: error for name, error in failures.items() if not isinstance(error, RayTaskError)}


def _final_cause(failures: dict[str, RayError]) -> UserError | RunFailedError | None:
    """Return an error among the failures that a restart would only meet again."""
    causes = (error.cause for error in failures.values() if isinstance(error, RayTaskError))
    return next((cause for cause in causes if isinstance(cause, UserError | RunFailedError)), None)
