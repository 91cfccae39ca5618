"""The token-level objective of GRPO, as coupled-GRPO uses it (DiffuCoder, arXiv 2506.20639)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.objective import Sums
from learner.objectives.ratios import ClippedRatios, kl_estimate
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class TokenGrpo(ClippedRatios):
    """PPO-clipped policy gradient with a KL, over valid tokens (DiffuCoder, equations 2 and 5).

    ``importance`` weighs the surrogate of each token against staleness.
    """

    by_token = True

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        new = tokens.estimates(log_probs)
        advantage = tokens.advantages[tokens.owner]
        if tokens.importance is not None:
            advantage = advantage * tokens.importance
        return self.sums_of(new, tokens.old, kl_estimate(new, self.anchor(tokens), self.kl), advantage)
