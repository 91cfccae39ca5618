"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from common.config import OptimizerConfig

_EPSILON = 1e-8


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Make AdamW over the parameters of ``module`` that are trained.

    Matrices decay; biases and the weights of norms do not, as in transformers' Trainer.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # One group where nothing decays: each group's gradients and weights travel by themselves.
    spared = [parameter for parameter in trained if config.weight_decay and parameter.ndim == 1]
    others = [parameter for parameter in trained if not config.weight_decay or parameter.ndim > 1]
    groups = ({"params": others, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        eps=_EPSILON,
        # One kernel that works in place: torch's other ways take up to three more copies of what is updated.
        fused=True if all(parameter.is_cuda for parameter in trained) else None,
    )


def learning_rate(config: OptimizerConfig, update: int, updates: int) -> float:
    """Return the learning rate of optimizer step ``update`` (0-based) of ``updates``.

    It is that of transformers' schedules: with a warm-up, that of the first step is 0.
    """
    if update < config.warmup_steps:
        return config.learning_rate * update / config.warmup_steps
    progress = min(1.0, (update - config.warmup_steps) / max(1, updates - config.warmup_steps))
    if config.schedule == "constant":
        return config.learning_rate
    fall = progress if config.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * progress))
    return config.learning_rate * (1.0 - (1.0 - config.final_share) * fall)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
