"""Training that has diverged: a loss, a gradient or a weight that is not finite, before a checkpoint holds it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.config import OptimizerConfig
from common.errors import RunFailedError
from learner.checkpoints import checkpoint_before


class DivergedError(RunFailedError):
    """A loss, gradient or weight that is not finite; the message names its step and a checkpoint from before."""


def check_metrics(
    metrics: Mapping[str, float], names: Iterable[str], version: int, checkpoints: Path, optimizer: OptimizerConfig
) -> None:
    """Raise DivergedError for a metric of ``version`` that is not finite, of those among ``names`` that there are.

    ``checkpoints`` is the run's folder of them.
    """
    for name in names:
        if not math.isfinite(metrics.get(name, 0.0)):
            when = f"at step {version} is" if version else "is"
            raise diverged(f"{name} {when} {metrics[name]}", version, checkpoints, optimizer)


def diverged(what: str, version: int, checkpoints: Path, optimizer: OptimizerConfig) -> DivergedError:
    """Return the error that says what is not finite at ``version``, and from where to go on and how."""
    if not version:
        return DivergedError(f"{what} before any step: model.path has weights that are not finite, or too large")
    # A checkpoint of the step before may hold what made this one diverge.
    good = checkpoint_before(checkpoints, version - 1)
    again = "no checkpoint is from before; start again" if good is None else f"go on with --resume {good}"
    return DivergedError(
        f"{what}: training has diverged; {again}, and lower learner.optimizer.learning_rate "
        f"({optimizer.learning_rate:g}) or max_grad_norm, or raise warmup_steps"
    )
