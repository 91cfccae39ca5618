"""Truncated importance weights: what a stale rollout counts."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.batch import ScoredTokens


def importance(tokens: ScoredTokens, old: Tensor, cap: float) -> Tensor:
    """min(cap, likelihood under the weights of this step / likelihood under those that sampled), [T].

    ``old`` [T] are the estimates under the weights of this step, for the masks of the first inner iteration: those
    for which the rollout recorded its own. Raises ValueError for a rollout that recorded none.
    """
    recorded = []
    for sample in tokens.samples:
        if len(sample.sampling_logprobs) != len(sample.completion_ids):
            raise ValueError(
                f"group {sample.group}, sample {sample.sample}: its rollout has no token likelihoods; "
                "learner.off_policy_cap must be set from the start of a run"
            )
        recorded.append(sample.sampling_logprobs)
    table = torch.tensor(recorded, device=old.device)
    ratio = torch.exp(old - table[tokens.owner, tokens.position])
    return ratio.clamp(max=cap)
