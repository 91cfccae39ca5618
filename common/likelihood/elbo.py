"""The evidence lower bound by subsets of an exact size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class CountedElboEstimator:
    """The evidence lower bound by subsets of an exact size, as ESPO draws them (arXiv 2512.03759).

    Each pair masks l positions, l uniform in 0..L, and the complement of them. A masked token counts L/l; the mean
    over l of the two halves is the bound but for the missing l = 0, which the factor (L + 1)/L makes up for.
    """

    pairs: int = 1

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        random, length = key.mask_generator(), len(text.completion_ids)
        masks, weights = [], []
        for _ in range(self.pairs):
            count = int(random.integers(0, length + 1))
            subset = np.zeros(length, dtype=bool)
            subset[random.permutation(length)[:count]] = True
            for mask in (subset, ~subset):
                masks.append(mask)
                weights.append(mask * ((length + 1) / max(1, int(mask.sum()))))
        return Views(np.stack(masks), np.stack(weights) / (2.0 * self.pairs), draws=self.pairs)
