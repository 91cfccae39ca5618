"""The estimator of JustGRPO, which follows the order of the text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class LeftToRightEstimator:
    """JustGRPO's estimator (arXiv 2601.15165): each token after those to its left, the rest masked.

    Exact for completions that were decoded from left to right; one view a token.
    """

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        positions = np.arange(len(text.completion_ids))
        own = np.arange(text.valid_tokens)[:, None]
        return Views(positions >= own, (positions == own).astype(float))
