"""The self-normalized policy gradient of StableDRL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.objective import Sums, by_group, sum_per_sample
from learner.objectives.spg import SandwichedGradient
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class SelfNormalizedGradient:
    """StableDRL (arXiv 2603.06743): the bounds of SPG, weighed by capped ratios that sum to 1 over a group.

    With b_i the mean over a completion's tokens of its lower bound, and w_i = min(b_i - b_i_old,
    log ``ratio_cap``), through which no gradient goes, the loss is the mean over groups of

        - sum over i of softmax(w)_i A_i bound_i,

    where bound_i is SPG's, the lower one where A > 0 and a mix of upper and lower one where A < 0
    (:class:`SandwichedGradient`). The cap does not depend on the sign of the advantage.

    Source: the released code, ``compute_loss_spg`` with ``use_snis``. Different here: old and new bound have the
    same masks, which the released code draws apart.
    """

    bounds: SandwichedGradient
    ratio_cap: float

    by_token = False
    needs_old = True
    needs_reference = False
    metric_names = ("policy/ratio_mean", "policy/clip_high_fraction", "policy/clip_fraction")

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        return by_group(samples)

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        def mean(values: Tensor) -> Tensor:
            return sum_per_sample(tokens, values) / tokens.valid

        lower = tokens.estimates(log_probs)
        change = (
            tokens.valid.new_zeros(tokens.valid.shape) if tokens.old is None else mean(lower.detach() - tokens.old)
        )
        ratio = change.clamp(max=math.log(self.ratio_cap)).exp()
        total = ratio.new_zeros(len(ratio)).index_add(0, tokens.groups, ratio)
        weight = ratio / total[tokens.groups]
        bound = mean(self.bounds.bounds(tokens, log_probs))
        capped = (change > math.log(self.ratio_cap)).sum()
        metrics = dict(zip(self.metric_names, (change.exp().sum(), capped, capped), strict=True))
        return Sums(-(weight * tokens.advantages * bound).sum(), metrics, units=len(tokens.samples))
