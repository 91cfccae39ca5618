"""How long a run trains: learner steps, and the epochs of its training tasks that they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from common.config import Config, ConfigError, StageConfig

_Tree = TypeVar("_Tree", Config, StageConfig)


@dataclass(frozen=True)
class RunLength:
    """Learner steps of ``groups_per_step`` groups each, one group for a task, over ``tasks`` training tasks.

    ``by_epochs``: the recipe gives epochs. Groups that are filtered or dropped are replaced by those of further
    tasks, which the figures here leave out.
    """

    steps: int
    groups_per_step: int
    tasks: int
    by_epochs: bool

    @property
    def epochs(self) -> float:
        """Times that a training task is trained on, in the mean."""
        return self.steps * self.groups_per_step / self.tasks

    @property
    def steps_of_an_epoch(self) -> int:
        """Whole steps of the first epoch."""
        return self.tasks // self.groups_per_step

    def as_record(self) -> dict[str, float]:
        """Return the figures as length.json in the run's folder has them."""
        return {
            "steps": self.steps,
            "groups_per_step": self.groups_per_step,
            "tasks": self.tasks,
            "epochs": self.epochs,
        }

    def sentence(self) -> str:
        """Say it in one line."""
        steps = "1 step" if self.steps == 1 else f"{self.steps:,} steps"
        return (
            f"{steps} of {self.groups_per_step:,} tasks: {self.epochs:.4g} epochs of {self.tasks:,} training tasks"
        )

    def warning(self) -> str | None:
        """Say that steps which the recipe gives as such go beyond the first epoch, where they do."""
        if self.by_epochs or self.epochs <= 1:
            return None
        whole = self.steps_of_an_epoch
        remedy = f"run.epochs: 1 ends after {whole:,} steps" if whole else "lower learner.groups_per_step"
        return (
            f"run.steps: {self.steps:,} go into epoch {math.ceil(self.epochs)}, from step {whole + 1:,} on: "
            f"tasks are trained on again; {remedy}"
        )


def run_length(config: Config, tasks: int) -> RunLength:
    """Compute the steps of a run on ``tasks`` loaded training tasks: the one place that turns epochs into steps.

    An epoch's last tasks that fill no step are left out, as in the released code, but only once, at the end of the
    run. Raises ConfigError for no task, for a recipe that gives neither unit, and for epochs that fill no step.
    """
    if not tasks:
        raise ConfigError("data.train: no usable task")
    run, groups = config.run, config.learner.groups_per_step
    if run.steps is not None:
        return RunLength(run.steps, groups, tasks, by_epochs=False)
    if run.epochs is None:
        raise ConfigError("run.steps: missing, and run.epochs too; give one of the two")
    steps = math.floor(Fraction(str(run.epochs)) * tasks / groups)  # 0.29 of 100 is 29, which floats miss
    if not steps:
        raise ConfigError(
            f"run.epochs: {run.epochs:g} of {tasks:,} training tasks fill no step of {groups:,} groups; raise it, "
            "or lower learner.groups_per_step"
        )
    return RunLength(steps, groups, tasks, by_epochs=True)


def with_steps(config: _Tree, steps: int) -> _Tree:
    """Return the configuration with the length in steps, as every process of the run reads it."""
    run = config.run.model_copy(update={"steps": steps, "epochs": None})
    return config.model_copy(update={"run": run})
