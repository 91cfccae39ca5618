"""The coupled estimator of DiffuCoder, and its decoupled baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.likelihood.views import SampleKey, Text, Views

Weighting = Literal["paper", "normalized"]


@dataclass(frozen=True)
class CoupledEstimator:
    """Coupled-GRPO's estimator (DiffuCoder, equations 4 and 13; pair count lambda = ``pairs``).

    View 0 masks everything. Each pair masks a random subset B, every position with probability r, and its
    complement: every token is measured once in every pair, under a context that is not empty.
    ``paper`` weights add up to (2 lambda + 1)/(lambda + 1) in the mean, 1.5 at lambda = 1; ``normalized`` divides
    by that, so that ratios keep their scale when lambda changes. Without ``complements`` the two views of a pair
    are drawn apart, each with a ratio of its own: the paper's decoupled baseline, of the same cost.
    """

    pairs: int = 1
    ratio: tuple[float, float] = (0.2, 0.8)
    weighting: Weighting = "paper"
    complements: bool = True

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        random, length = key.mask_generator(), len(text.completion_ids)
        masks, weights = [np.ones(length, dtype=bool)], [np.ones(length)]
        for _ in range(self.pairs if self.complements else 2 * self.pairs):
            ratio = random.uniform(*self.ratio)
            bits = random.random(length) < ratio
            masks.append(bits)
            weights.append(bits / ratio)
            if self.complements:
                masks.append(~bits)
                weights.append(~bits / (1.0 - ratio))
        total = self.pairs + 1.0 if self.weighting == "paper" else 2.0 * self.pairs + 1.0
        return Views(np.stack(masks), np.stack(weights) / total)
