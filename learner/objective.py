"""The token-level GRPO loss (DiffuCoder, equations 2, 5 and algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossSums:
    """Sums over valid tokens; dividing by their global count is the caller's part."""

    loss: Tensor
    kl: Tensor
    ratio: Tensor
    clipped: Tensor


def grpo_loss(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    valid: Tensor,
    clip: float,
    kl_weight: float,
) -> LossSums:
    """PPO-clipped policy gradient plus k3 KL to the reference, summed over valid tokens.

    ``new``, ``old``, ``reference``: estimated token log-likelihoods [n, L]; ``advantages`` [n]; ``valid`` [n, L]
    marks tokens up to and including the first end-of-text.
    """
    ratio = torch.exp(new - old)
    advantage = advantages.unsqueeze(1)
    clipped_ratio = ratio.clamp(1.0 - clip, 1.0 + clip)
    surrogate = torch.minimum(ratio * advantage, clipped_ratio * advantage)
    kl = torch.zeros_like(new)
    if reference is not None:
        difference = reference - new
        kl = torch.exp(difference) - difference - 1.0
    per_token = -surrogate + kl_weight * kl
    inactive = (clipped_ratio * advantage < ratio * advantage) & valid
    zero = torch.zeros((), device=new.device)
    return LossSums(
        loss=torch.where(valid, per_token, zero).sum(),
        kl=torch.where(valid, kl, zero).sum().detach(),
        ratio=torch.where(valid, ratio, zero).sum().detach(),
        clipped=inactive.sum().detach(),
    )
