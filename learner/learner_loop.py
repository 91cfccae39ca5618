"""The learner's loop: checkpoint what was done, take whole groups, turn rewards into advantages, update.

Every DeepSpeed rank runs this code. Rank 0 alone talks to the streams; it shares each batch with the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from common.config import LearnerConfig
from common.records import TrajectoryGroup
from learner.metrics import batch_metrics
from learner.progress import Progress
from learner.samples import TrainingSample, training_samples


class GroupSource(Protocol):
    """Gives rank 0 the groups of a step."""

    @property
    def spare(self) -> int:
        """Groups that are there beyond those of the steps that were given out."""

    def next_groups(self) -> Sequence[TrajectoryGroup] | None:
        """Block until the groups of one step have arrived, or return None if the step is not to begin."""

    def checkpointed(self) -> None:
        """Acknowledge what was consumed: a checkpoint holds it now."""


class Training(NamedTuple):
    """What training on the samples of a step took and gave: the count of optimizer steps, and flat metrics."""

    updates: int
    metrics: dict[str, float]


class Updater(Protocol):
    def train(self, samples: Sequence[TrainingSample], updates: int) -> Training:
        """Run the inner iterations on the samples; ``updates`` is the count of optimizer steps so far."""


@dataclass(frozen=True)
class StepReport:
    """Result of a learner step: the new version, flat metrics, how many samples it consumed, and its progress."""

    version: int
    metrics: dict[str, float]
    samples: int
    groups: Sequence[TrajectoryGroup]
    progress: Progress


class LearnerLoop:
    """Takes one learner step at a time; the orchestrator calls :meth:`step` once per weight version.

    ``measure`` gives metrics of a step's groups under the weights that they are to train, given their version.
    """

    def __init__(
        self,
        config: LearnerConfig,
        progress: Progress,
        engine: Updater,
        source: GroupSource | None,
        share: Callable[[Sequence[TrajectoryGroup] | None], Sequence[TrajectoryGroup] | None],
        measure: Callable[[Sequence[TrajectoryGroup], int], dict[str, float]],
        save_checkpoint: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._progress = progress
        self._engine = engine
        self._source = source
        self._share = share
        self._measure = measure
        self._save_checkpoint = save_checkpoint
        self._saved_version = progress.version
        self._collected: Sequence[TrajectoryGroup] | None = None
        self._collecting_seconds = self._checkpoint_seconds = 0.0

    def collect(self) -> bool:
        """Wait for the groups of the next step on rank 0 alone; False where the step is not to begin."""
        began = time.perf_counter()
        self._collected = self._source.next_groups() if self._source else None
        self._collecting_seconds = time.perf_counter() - began
        return self._collected is not None

    def step(self, checkpoint: bool) -> StepReport | None:
        """Train the groups of one step, with ``checkpoint`` after a checkpoint of the steps before.

        By then the orchestrator has recorded those, and workers sample this step's groups while it is written.
        The groups are those that :meth:`collect` has got, if it was called. Returns None, on every rank, for a
        step that was interrupted before its groups had come.
        """
        if checkpoint:
            self.checkpoint()
        started = time.perf_counter()
        groups = self._share(self._take_groups())
        if groups is None:
            return None
        collected = time.perf_counter()
        waited, self._collecting_seconds = self._collecting_seconds + collected - started, 0.0
        spare = self._source.spare if self._source else 0
        metrics = batch_metrics(groups, self._progress.version)
        metrics |= self._measure(groups, self._progress.version)
        samples = training_samples(groups, self._config)
        if samples:
            training = self._engine.train(samples, self._progress.updates)
            metrics |= training.metrics
            self._progress.updates += training.updates
        self._progress.version += 1
        metrics |= {
            "perf/spare_groups": float(spare),
            "seconds/checkpoint": self._checkpoint_seconds,
            "seconds/wait": waited,
            "seconds/update": time.perf_counter() - collected,
        }
        self._checkpoint_seconds = 0.0
        return StepReport(
            version=self._progress.version,
            metrics=metrics,
            samples=sum(len(group.scores) for group in groups),
            groups=groups,
            progress=replace(self._progress),
        )

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained, and acknowledge its groups."""
        if self._progress.version == self._saved_version:
            return
        began = time.perf_counter()
        self._save_checkpoint(self._progress)
        self._saved_version = self._progress.version
        if self._source:
            self._source.checkpointed()
        self._checkpoint_seconds += time.perf_counter() - began

    def _take_groups(self) -> Sequence[TrajectoryGroup] | None:
        groups, self._collected = self._collected, None
        if groups is None and self._source:
            return self._source.next_groups()
        return groups
