"""The learner's DeepSpeed ranks as one group: started together, stepped together, replaced together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from common.config import Config
from common.errors import RunFailedError
from common.weights.broadcast import GRACE_SECONDS, Location
from common.weights.broadcast_group import Plan
from common.weights.publisher import Publication
from learner.checkpoints import CheckpointError, latest_checkpoint
from learner.learner_loop import StepReport
from orchestrator.fleet.calls import last_line
from orchestrator.fleet.health import Health, RestartLimit

_TICK_SECONDS = 0.2
#: When a rank fails, its peers fail too, some of them before Ray knows of a dead process.
_GRACE_SECONDS = 3.0

#: Makes the actor of a rank: (rank, actor name) -> handle.
SpawnRank = Callable[[int, str], Any]


class LearnerDiedError(RunFailedError):
    """A rank died or missed a deadline; the message names it."""


class LearnerGroup:
    """Drive all ranks of the learner. A failed rank fails the group, which restarts from the last checkpoint."""

    def __init__(self, config: Config, spawn: SpawnRank, check_stop: Callable[[], None]) -> None:
        self._config = config
        self._check_stop = check_stop
        self._spawn = spawn
        self._ranks: list[Any] = []
        self._names: list[str] = []
        self._stepping: list[Any] = []
        self._publishing: list[Any] = []
        self._location: Location | None = None
        self._meeting_point: tuple[str, int] | None = None
        self._limit = RestartLimit("the learner", config.deadlines.restarts)
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

    @property
    def location(self) -> Location:
        """Where rank 0 runs."""
        if self._location is None:
            raise RuntimeError("the learner has not been started")
        return self._location

    def start(self, checkpoint: Path | None, watch: Callable[[], None] | None = None) -> None:
        """Spawn and join the ranks, from ``checkpoint`` or from the model; call ``watch`` meanwhile.

        Raises LearnerDiedError.
        """
        suffix = f"-restart-{self.restarts}" if self.restarts else ""
        self._names = [f"learner-{rank}{suffix}" for rank in range(self._config.learner.ranks)]
        self._ranks = [self._spawn(rank, name) for rank, name in enumerate(self._names)]
        self._stepping, self._publishing = [], []
        self._meeting_point = None
        self.addresses = []
        deadline = self._config.deadlines.start_seconds
        leader = self._ranks[0]
        rendezvous = self._get([leader.rendezvous.remote()], deadline, watch)[0]
        versions = self._get([rank.start.remote(rendezvous, checkpoint) for rank in self._ranks], deadline, watch)
        self.version = versions[0]
        self.addresses = self._get([rank.metrics_address.remote() for rank in self._ranks], deadline)
        self._location = self._get([leader.location.remote()], deadline)[0]

    def begin_step(self, checkpoint: bool) -> None:
        """Begin a step, with ``checkpoint`` after a checkpoint of the steps before it."""
        self._stepping = [rank.step.remote(checkpoint) for rank in self._ranks]

    def poll_step(self, wait: float) -> StepReport | None:
        """Wait up to ``wait`` seconds for all ranks; return rank 0's report, None if they are not done.

        Raises LearnerDiedError.
        """
        end = time.monotonic() + wait
        while True:
            ready, pending = ray.wait(self._stepping, num_returns=len(self._stepping), timeout=wait)
            self._check(self._stepping, ready)
            if not pending:
                report: StepReport = self._get(self._stepping, 1.0)[0]
                self._stepping = []
                self.version = report.version
                return report
            if time.monotonic() >= end:
                return None

    def meeting_point(self) -> tuple[str, int]:
        """Return the address at which rank 0 meets the members of a broadcast. Raises LearnerDiedError."""
        if self._meeting_point is None:
            deadline = self._config.deadlines.weights_seconds
            self._meeting_point = self._get([self._ranks[0].meeting_point.remote()], deadline)[0]
        return self._meeting_point

    def begin_publish(self, plan: Plan | None) -> None:
        """Begin to publish the current weights, by broadcast too if there is a plan."""
        self._publishing = [rank.publish.remote(plan) for rank in self._ranks]

    def end_publish(self, failed_member: Callable[[], str | None]) -> Publication:
        """Wait for the publication; once ``failed_member`` names a lost receiver, a broadcast is called off.

        Raises LearnerDiedError.
        """

        def watch() -> None:
            self._check_stop()
            reason = failed_member()
            if reason is not None:  # told again until it ends: the broadcast may not have begun yet
                self._ranks[0].call_off_broadcast.remote(reason)

        # Rank 0 gives a broadcast up after the deadline, asks who is there, and then still has weights to store.
        deadline = 2 * (self._config.deadlines.weights_seconds + GRACE_SECONDS)
        publication: Publication = self._get(self._publishing, deadline, watch)[0]
        self._publishing = []  # Ray keeps the buckets for as long as somebody holds the call that named them
        return publication

    def interrupt(self) -> StepReport | None:
        """Have the ranks end what they do, so that they can write a checkpoint.

        A step that has its groups is trained to its end and reported; one that waits for them has not begun.
        Raises LearnerDiedError.
        """
        deadline = self._config.deadlines.step_seconds
        if self._stepping:
            self._ranks[0].interrupt.remote()
        reports = self._get(self._stepping, deadline)
        self._get(self._publishing, deadline)
        self._stepping, self._publishing = [], []
        report: StepReport | None = reports[0] if reports else None
        if report is not None:
            self.version = report.version
        return report

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained. Raises LearnerDiedError."""
        self._get([rank.checkpoint.remote() for rank in self._ranks], self._config.deadlines.step_seconds)

    def export(self, folder: Path) -> None:
        """Write the weights as a Hugging Face folder."""
        deadline = self._config.deadlines.start_seconds
        self._get([rank.export.remote(folder) for rank in self._ranks], deadline)

    def restart(self, reason: str) -> str:
        """Replace all ranks from the last checkpoint; return a line about it.

        Raises TooManyRestartsError, or LearnerDiedError for the new ranks.
        """
        self._limit.count(reason)
        for rank in self._ranks:
            ray.kill(rank)
        checkpoint = latest_checkpoint(self._config.folder / "checkpoints")
        self.start(checkpoint)
        return f"learner died ({reason}); restart {self.restarts} from version {self.version}"

    def _get(self, calls: list[Any], deadline: float, watch: Callable[[], None] | None = None) -> list[Any]:
        """Return the results of one call of each rank, or of the first ranks; call ``watch`` meanwhile.

        Raises LearnerDiedError.
        """
        end = time.monotonic() + deadline
        pending = calls
        while pending:
            (watch or self._check_stop)()
            if time.monotonic() > end:
                late = [name for name, call in zip(self._names, calls, strict=False) if call in pending]
                raise LearnerDiedError(f"no answer from {', '.join(late)} within {deadline:.0f} s")
            done, pending = ray.wait(pending, timeout=_TICK_SECONDS)
            self._check(calls, done)
        results: list[Any] = ray.get(calls, timeout=deadline)
        return results

    def _check(self, calls: list[Any], done: list[Any]) -> None:
        """Raise LearnerDiedError if one of the calls that are done failed, CheckpointError for a full disk.

        The error names the rank whose process died, if there is one, before ranks that failed for lack of it.
        """
        first = failures = self._failures(calls, done)
        if not first:
            return
        end = time.monotonic() + _GRACE_SECONDS
        pending = calls
        while pending and not _dead(failures) and not _full_disk(failures) and time.monotonic() < end:
            self._check_stop()
            done, pending = ray.wait(calls, num_returns=len(calls), timeout=_TICK_SECONDS)
            failures = self._failures(calls, done)
        full = _full_disk(failures)
        if full is not None:
            raise full
        name, error = next(iter((_dead(failures) or first).items()))
        raise LearnerDiedError(f"{name}: {last_line(error)}") from error

    def _failures(self, calls: list[Any], done: list[Any]) -> dict[str, RayError]:
        failures = {}
        for name, call in zip(self._names, calls, strict=False):
            if call in done:
                try:
                    ray.get(call, timeout=1.0)
                except RayError as error:
                    failures[name] = error
        return failures


def _dead(failures: dict[str, RayError]) -> dict[str, RayError]:
    """Return the failures that are no exception of the rank's own: its process is gone."""
    return {name: error for name, error in failures.items() if not isinstance(error, RayTaskError)}


def _full_disk(failures: dict[str, RayError]) -> CheckpointError | None:
    """Return the CheckpointError among the failures, which a restart would only meet again."""
    causes = (error.cause for error in failures.values() if isinstance(error, RayTaskError))
    return next((cause for cause in causes if isinstance(cause, CheckpointError)), None)
