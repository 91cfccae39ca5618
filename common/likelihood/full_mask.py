"""The one-pass estimator of d1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class FullMaskEstimator:
    """d1's one-pass estimator (diffu-GRPO, arXiv 2504.12216): the whole completion masked.

    Prompt tokens are masked with probability ``prompt_mask``, afresh in every inner iteration.
    """

    prompt_mask: float = 0.0

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        everything = np.ones((1, len(text.completion_ids)), dtype=bool)
        hidden = key.mask_generator().random((1, len(text.prompt_ids))) < self.prompt_mask
        return Views(everything, everything.astype(float), prompt_masks=hidden)
