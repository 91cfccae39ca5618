"""Coupled-GRPO's forward and backward pass as it was released, plainly, on transformers' own model.

Three copies of prompt and completion are stacked, the vocabulary is scored at every position of all of them, and
the log-softmax over all completion positions is kept for the backward pass. What the release does wrong is left
out (padding that is attended to, log-softmax in bf16, masks that samples share), so that both sides give one
gradient. One log-softmax of all samples stands for the release's loop over them, which is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from common.likelihood.views import Views
from common.models.config import ModelConfig
from learner.samples import TrainingSample


def estimates(
    stock: Any, config: ModelConfig, samples: Sequence[TrainingSample], views: Sequence[Views], dtype: torch.dtype
) -> Tensor:
    """Estimated token log-likelihoods [n, L] of n samples with prompts of one length, in V views each."""
    device = stock.device
    canvases = torch.stack(
        [torch.from_numpy(v.canvases(s, config.mask_token_id)) for s, v in zip(samples, views, strict=True)], dim=1
    ).to(device)  # [V, n, P + L]
    copies, count, _ = canvases.shape
    completions = torch.tensor([sample.completion_ids for sample in samples], device=device)
    length = completions.shape[1]
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        everything = _all_see_all(canvases)
        logits: Tensor = stock(canvases.flatten(0, 1), attention_mask=everything, use_cache=False).logits
    logits = logits[:, -length - 1 : -1].float()
    # A copy: in place, on a part of the logits, it would cost the backward pass a copy of all of them.
    logits = logits.index_fill(-1, torch.tensor(config.forbidden_token_ids, device=device), -torch.inf)
    scores = logits.log_softmax(-1).gather(-1, completions.repeat(copies, 1).unsqueeze(-1))
    weights = torch.stack([torch.from_numpy(v.weights) for v in views], dim=1).float().to(device)
    return (scores.view(copies, count, length) * weights).sum(0)


def grpo(
    new: Tensor, old: Tensor, reference: Tensor, samples: Sequence[TrainingSample], clip: float, kl_weight: float
) -> Tensor:
    """The loss of token estimates [n, L], summed over valid tokens."""
    advantage = torch.tensor([sample.advantage for sample in samples], device=new.device).unsqueeze(1)
    valid = torch.arange(new.shape[1], device=new.device) < torch.tensor(
        [[sample.valid_tokens] for sample in samples], device=new.device
    )
    ratio = (new - old).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    kl = (reference - new).exp() - (reference - new) - 1
    return ((kl_weight * kl - surrogate) * valid).sum()


def _all_see_all(canvases: Tensor) -> Tensor:
    copies, count, length = canvases.shape
    return torch.zeros(copies * count, 1, length, length, device=canvases.device)
