"""The sequence-level objective of ESPO, GDPO and GSPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.objective import Sums, sum_per_sample
from learner.objectives.ratios import ClippedRatios, kl_estimate
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class SequenceGrpo(ClippedRatios):
    """One clipped ratio a completion: exp of the mean difference of its token estimates.

    ESPO (arXiv 2512.03759) and GDPO (arXiv 2510.08554) with estimates of the evidence lower bound; the ratio is
    GSPO's. The KL is estimated from the sums over the L tokens and divided by L, so that k2 is the squared
    difference over 2 L, as in ESPO's released code.
    """

    by_token = False

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        present = tokens.present
        length = tokens.valid[present]

        def total(values: Tensor) -> Tensor:
            return sum_per_sample(tokens, values)[present]

        new, anchor = total(tokens.estimates(log_probs)), self.anchor(tokens)
        kl = kl_estimate(new, None if anchor is None else total(anchor), self.kl) / length
        old = None if tokens.old is None else total(tokens.old) / length
        return self.sums_of(new / length, old, kl, tokens.advantages[present])
