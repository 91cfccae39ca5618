"""How long a stage trains: optimizer steps, and the passes over its corpus that they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from common.config import ConfigError, StageConfig


class Measured(Protocol):
    """A prepared corpus, as far as its length goes."""

    @property
    def epoch_steps(self) -> float: ...


@dataclass(frozen=True)
class StageLength:
    """Steps of ``sequences_per_step`` sequences, or examples; a pass over the corpus is ``epoch_steps``."""

    steps: int
    sequences_per_step: int
    epoch_steps: float

    @property
    def epochs(self) -> float:
        """Passes over the corpus."""
        return self.steps / self.epoch_steps

    def as_record(self) -> dict[str, float]:
        """Return the figures as length.json in the run's folder has them."""
        return {
            "steps": self.steps,
            "sequences_per_step": self.sequences_per_step,
            "epoch_steps": self.epoch_steps,
            "epochs": self.epochs,
        }

    def sentence(self) -> str:
        """Say it in one line."""
        steps = "1 step" if self.steps == 1 else f"{self.steps:,} steps"
        return f"{steps} of {self.sequences_per_step:,} sequences: {self.epochs:.4g} epochs"


def stage_length(config: StageConfig, corpus: Measured) -> StageLength:
    """Compute the steps of a run on a prepared corpus: the one place that turns epochs into steps.

    Raises ConfigError for a recipe that gives neither unit, and for epochs that fill no step.
    """
    run, sequences = config.run, config.learner.sequences_per_step
    if run.steps is not None:
        return StageLength(run.steps, sequences, corpus.epoch_steps)
    if run.epochs is None:
        raise ConfigError("run.steps: missing, and run.epochs too; give one of the two")
    steps = math.floor(round(run.epochs * corpus.epoch_steps, 6))  # 3 x 33.666... is 101
    if not steps:
        raise ConfigError(
            f"run.epochs: {run.epochs:g} of {corpus.epoch_steps:.3g} steps fill no step; raise it, or lower "
            "learner.sequences_per_step"
        )
    return StageLength(steps, sequences, corpus.epoch_steps)
