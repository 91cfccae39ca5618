"""The loop of a stage: checkpoint what was done, read a step's segments, train on them.

Every DeepSpeed rank runs this code, on the same segments: what a step reads depends on its number alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from learner.stages.progress import Read, StageProgress
from learner.stages.segments import Segment, StageReport


class ReadByStep(Read, Protocol):
    """A prepared corpus."""

    @property
    def epoch_steps(self) -> float:
        """Steps of a pass over all of it."""

    def step(self, number: int) -> Sequence[Segment]:
        """Return the segments that step ``number``, counted from 0, trains on."""


class Denoiser(Protocol):
    """The engine of a rank."""

    def train(self, segments: Sequence[Segment], step: int, epochs: float) -> dict[str, float]:
        """Take optimizer step ``step`` after ``epochs`` passes over the data; return its metrics."""


class StageLoop:
    """Takes one optimizer step at a time; the orchestrator calls :meth:`step` once per weight version."""

    def __init__(
        self,
        version: int,
        corpus: ReadByStep,
        engine: Denoiser,
        save_checkpoint: Callable[[StageProgress], None],
    ) -> None:
        self._version = version
        self._corpus = corpus
        self._engine = engine
        self._save_checkpoint = save_checkpoint
        self._saved_version = version

    def step(self, checkpoint: bool) -> StageReport:
        """Train on the segments of the next step, with ``checkpoint`` after a checkpoint of the steps before."""
        began = time.perf_counter()
        if checkpoint:
            self.checkpoint()
        started = time.perf_counter()
        segments = self._corpus.step(self._version)
        metrics = self._engine.train(segments, self._version, self._version / self._corpus.epoch_steps)
        self._version += 1
        metrics |= {
            "data/tokens": float(self._corpus.position(self._version).tokens),
            "data/epochs": self._version / self._corpus.epoch_steps,
            "seconds/checkpoint": started - began,
        }
        return StageReport(self._version, metrics)

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained."""
        if self._version != self._saved_version:
            self._save_checkpoint(StageProgress.at(self._version, self._corpus))
            self._saved_version = self._version
