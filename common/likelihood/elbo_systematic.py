"""The evidence lower bound by subsets whose sizes are spread evenly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class SystematicElboEstimator:
    """The evidence lower bound by a systematic sample of subset sizes, as BGPO draws them (arXiv 2510.11683).

    Of the L valid tokens each of ``subsets`` views masks l, where the sizes l are evenly spaced over 1..L from a
    random start, and a masked token counts L/l; tokens after the end are shown. Each view by itself is an unbiased
    draw of the bound. Source: the port of BGPO in DARE, ``_forward_process_bgpo``, which draws like LLaDA's
    likelihood evaluation. Different here: tokens after the end stay in the context, where DARE cuts them off.
    """

    subsets: int = 1

    complete = False

    def views(self, key: SampleKey, text: Text) -> Views:
        random, valid = key.mask_generator(), text.valid_tokens
        start = int(random.integers(1, valid + 1))
        masks = np.zeros((self.subsets, len(text.completion_ids)), dtype=bool)
        weights = np.zeros(masks.shape)
        for subset in range(self.subsets):
            size = (round(start + subset * valid / self.subsets) - 1) % valid + 1
            masks[subset, random.permutation(valid)[:size]] = True
            weights[subset] = masks[subset] * (valid / size / self.subsets)
        return Views(masks, weights, draws=self.subsets)
