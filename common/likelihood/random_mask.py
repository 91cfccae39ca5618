"""The random-ratio estimator of UniGRPO."""

from __future__ import annotations

from dataclasses import dataclass

from common import rng
from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class RandomMaskEstimator:
    """UniGRPO's estimator (MMaDA, arXiv 2505.15809): one random subset, and nothing said of the tokens outside it.

    The mask ratios of a sample's ``iterations`` inner iterations are spaced evenly over (0, 1) from a random
    start.
    """

    iterations: int = 1

    complete = False

    def views(self, key: SampleKey, text: Text) -> Views:
        start = rng.stream(key.seed, "mask-ratio", key.group, key.sample).random()
        ratio = (start + key.iteration / self.iterations) % 1.0
        mask = key.mask_generator().random((1, len(text.completion_ids))) < ratio
        return Views(mask, mask.astype(float))
