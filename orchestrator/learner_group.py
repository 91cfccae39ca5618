"""The learner's DeepSpeed ranks as one thing: started together, stepped together, replaced together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from common.config import Config
from common.models.weights import WeightsUpdate
from learner.checkpoints import latest_checkpoint
from learner.worker import StepReport
from orchestrator.fleet import last_line
from orchestrator.health import TooManyRestartsError

_TICK_SECONDS = 0.2

#: Makes the actor of a rank: (rank, actor name) -> handle.
SpawnRank = Callable[[int, str], Any]


class LearnerDiedError(RuntimeError):
    """A rank died or missed a deadline; the message names it."""


class LearnerGroup:
    """All ranks of the learner. A failed rank fails the group, which restarts from the last checkpoint."""

    def __init__(self, config: Config, spawn: SpawnRank, check_stop: Callable[[], None]) -> None:
        self._config = config
        self._check_stop = check_stop
        self._spawn = spawn
        self._ranks: list[Any] = []
        self._stepping: list[Any] = []
        self.restarts = 0
        self.address = ""
        self.version = 0

    def start(self, checkpoint: Path | None) -> None:
        """Spawn and join the ranks, from ``checkpoint`` or from the model."""
        suffix = f"-restart-{self.restarts}" if self.restarts else ""
        self._ranks = [self._spawn(rank, f"learner-{rank}{suffix}") for rank in range(self._config.learner.ranks)]
        deadline = self._config.deadlines.start_seconds
        rendezvous = self._get([self._ranks[0].rendezvous.remote()], deadline)[0]
        versions = self._get([rank.start.remote(rendezvous, checkpoint) for rank in self._ranks], deadline)
        self.version = versions[0]
        self.address = self._get([self._ranks[0].metrics_address.remote()], deadline)[0]

    def begin_step(self, checkpoint: bool) -> None:
        self._stepping = [rank.step.remote(checkpoint) for rank in self._ranks]

    def poll_step(self, wait: float) -> StepReport | None:
        """The report once all ranks are done; waits up to ``wait`` seconds. Raises LearnerDiedError."""
        end = time.monotonic() + wait
        while True:
            ready, pending = ray.wait(self._stepping, num_returns=len(self._stepping), timeout=wait)
            if ready:
                self._get(ready, 1.0)
            if not pending:
                report: StepReport = self._get(self._stepping, 1.0)[0]
                self.version = report.version
                return report
            if time.monotonic() >= end:
                return None

    def publish(self) -> WeightsUpdate:
        """The current weights, in the object store."""
        deadline = self._config.deadlines.weights_seconds
        update: WeightsUpdate = self._get([rank.publish.remote() for rank in self._ranks], deadline)[0]
        return update

    def export(self, folder: Path) -> None:
        """Write the weights as a Hugging Face folder."""
        deadline = self._config.deadlines.start_seconds
        self._get([rank.export.remote(folder) for rank in self._ranks], deadline)

    def restart(self, reason: str) -> str:
        """Replace all ranks from the last checkpoint; returns a line for the display."""
        if self.restarts >= self._config.deadlines.restarts:
            raise TooManyRestartsError(
                f"the learner died {self.restarts + 1} times (deadlines.restarts: {self.restarts}); "
                f"last error: {reason}"
            )
        self.restarts += 1
        for rank in self._ranks:
            ray.kill(rank)
        checkpoint = latest_checkpoint(self._config.folder / "checkpoints")
        self.start(checkpoint)
        return f"learner died ({reason}); restart {self.restarts} from version {self.version}"

    def _get(self, references: list[Any], deadline: float) -> list[Any]:
        end = time.monotonic() + deadline
        pending = references
        while pending:
            self._check_stop()
            if time.monotonic() > end:
                raise LearnerDiedError(f"{len(pending)} of its ranks gave no answer within {deadline:.0f} s")
            done, pending = ray.wait(pending, timeout=_TICK_SECONDS)
            try:
                ray.get(done, timeout=_TICK_SECONDS)  # a failed rank is named at once, while its peers wait for it
            except RayError as error:
                raise LearnerDiedError(last_line(error)) from error
        try:
            results: list[Any] = ray.get(references, timeout=deadline)
        except RayError as error:
            raise LearnerDiedError(last_line(error)) from error
        return results
