"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from common.config import OptimizerConfig

_EPSILON = 1e-8


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Make AdamW over the parameters of ``module`` that are trained."""
    return torch.optim.AdamW(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        eps=_EPSILON,
        weight_decay=config.weight_decay,
    )


def learning_rate(config: OptimizerConfig, update: int, updates: int) -> float:
    """Return the learning rate of optimizer step ``update`` (0-based) of ``updates``."""
    if update < config.warmup_steps:
        return config.learning_rate * (update + 1) / (config.warmup_steps + 1)
    progress = min(1.0, (update - config.warmup_steps) / max(1, updates - config.warmup_steps))
    if config.schedule == "constant":
        return config.learning_rate
    fall = progress if config.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * progress))
    return config.learning_rate * (1.0 - (1.0 - config.final_share) * fall)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
