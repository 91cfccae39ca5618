"""Training that has diverged: a loss, a gradient or a weight that is not finite, before a checkpoint holds it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

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


@torch.no_grad()
def first_not_finite(weights: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first weight that has a value which is not finite, on whichever rank; None for none.

    A collective call: every rank gives what it holds of the same weights, in the same order.
    """
    names, found = [], []
    for name, weight in weights:
        names.append(name)
        extremes = torch.stack(torch.aminmax(weight)) if weight.numel() else weight.new_zeros(2)
        found.append(extremes.isfinite().all())  # a NaN is an extreme, too
    if not names:
        return None
    bad = (~torch.stack(found)).to(torch.int32)
    dist.all_reduce(bad, op=dist.ReduceOp.MAX)
    return next((name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad), None)
