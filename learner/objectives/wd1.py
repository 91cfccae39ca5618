"""The weighted likelihoods of wd1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from learner.objectives.objective import Sums, by_group
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class WeightedLikelihood:
    """wd1 (arXiv 2507.08838): -sum_i (softmax(A)_i - softmax(-A)_i) log p(o_i), the mean over groups.

    Needs neither old nor reference policy.
    """

    by_token = True
    needs_old = False
    needs_reference = False
    metric_names = ()

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        """Put the weight of each sample's likelihood in place of its advantage."""
        linked = []
        for group in by_group(samples):
            advantages = np.array([sample.advantage for sample in group], dtype=np.float64)
            weights = _softmax(advantages) - _softmax(-advantages)
            linked += [[replace(s, advantage=w)] for s, w in zip(group, weights.tolist(), strict=True)]
        return linked

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len({sample.group for samples in linked for sample in samples}))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        estimates = tokens.estimates(log_probs)
        return Sums(-(tokens.advantages[tokens.owner] * estimates).sum(), {}, units=estimates.numel())


def _softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(values - values.max())
    shares: npt.NDArray[np.float64] = powers / powers.sum()
    return shares
