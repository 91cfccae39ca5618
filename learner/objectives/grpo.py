"""The token-level objective of GRPO, as coupled-GRPO uses it (DiffuCoder, arXiv 2506.20639)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.batch import TokenRows
from learner.objectives.objective import SampleBySample, Sums
from learner.objectives.ratios import Clip, KlEstimator, kl_to_reference
from learner.samples import TrainingSample


@dataclass(frozen=True)
class TokenGrpo(SampleBySample):
    """PPO-clipped policy gradient with a KL to the reference, over valid tokens (DiffuCoder, equations 2 and 5).

    ``importance`` weighs the surrogate of each token against staleness.
    """

    clip: Clip
    kl_weight: float
    kl: KlEstimator = "k3"

    by_token = True
    needs_old = True
    metric_names = ("policy/kl", *Clip.metric_names)

    @property
    def needs_reference(self) -> bool:
        return self.kl_weight > 0

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        new = tokens.estimates(log_probs)
        ratio = torch.exp(new - (new.detach() if tokens.old is None else tokens.old))
        advantage = tokens.advantages[tokens.owner]
        if tokens.importance is not None:
            advantage = advantage * tokens.importance
        kl = kl_to_reference(new, tokens.reference, self.kl)
        loss = (self.kl_weight * kl - self.clip.surrogate(ratio, advantage)).sum()
        return Sums(loss, {"policy/kl": kl.detach().sum(), **self.clip.metrics(ratio, advantage)})
