"""Likelihood estimators: how the log-likelihood of a completion's tokens is measured.

A masked-diffusion model has no exact token likelihood. An estimator names *views* of the completion (which
positions are masked in each) and *weights*, and the estimate is

    l_k = sum over views v of weights[v, k] * log p(o_k | prompt, o with masks[v] masked).

Masks are data: a pure function of the sample's key, the same for old, new and reference policy, and for any
split of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from common import rng


@dataclass(frozen=True)
class SampleKey:
    """Identifies a sample's masks: run seed, group index, sample index and inner iteration."""

    seed: int
    group: int
    sample: int
    iteration: int


@dataclass(frozen=True)
class Views:
    """``masks`` bool [V, L] and ``weights`` float64 [V, L]; a weight is 0 wherever its mask is."""

    masks: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]


class Estimator(Protocol):
    def views(self, key: SampleKey, length: int) -> Views:
        """The views of a completion of ``length`` tokens."""


@dataclass(frozen=True)
class CoupledEstimator:
    """Coupled-GRPO's estimator (DiffuCoder, equations 4 and 13; pair count lambda = ``pairs``).

    View 0 masks everything. Each pair masks a random subset B, every position with probability r, and its
    complement: every token is measured once in every pair, under a context that is not empty.
    ``paper`` weights add up to (2 lambda + 1)/(lambda + 1) in the mean, 1.5 at lambda = 1; ``normalized`` divides
    by that, so that ratios keep their scale when lambda changes.
    """

    pairs: int = 1
    ratio: tuple[float, float] = (0.2, 0.8)
    weighting: Literal["paper", "normalized"] = "paper"

    def views(self, key: SampleKey, length: int) -> Views:
        random = rng.stream(key.seed, "masks", key.group, key.sample, key.iteration)
        masks = [np.ones(length, dtype=bool)]
        weights = [np.ones(length)]
        for _ in range(self.pairs):
            ratio = random.uniform(*self.ratio)
            bits = random.random(length) < ratio
            masks += [bits, ~bits]
            weights += [bits / ratio, ~bits / (1.0 - ratio)]
        total = float(self.pairs + 1)
        if self.weighting == "normalized":
            total = 2.0 * self.pairs + 1.0
        return Views(np.stack(masks), np.stack(weights) / total)
