"""Estimators that draw masks at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from common import rng
from common.likelihood.views import SampleKey, Text, Views

Weighting = Literal["paper", "normalized"]


def _stream(key: SampleKey) -> np.random.Generator:
    return rng.stream(key.seed, "masks", key.group, key.sample, key.iteration)


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
        random, length = _stream(key), len(text.completion_ids)
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


@dataclass(frozen=True)
class FullMaskEstimator:
    """d1's one-pass estimator (diffu-GRPO, arXiv 2504.12216): the whole completion masked.

    Prompt tokens are masked with probability ``prompt_mask``, afresh in every inner iteration.
    """

    prompt_mask: float = 0.15

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        everything = np.ones((1, len(text.completion_ids)), dtype=bool)
        hidden = _stream(key).random((1, len(text.prompt_ids))) < self.prompt_mask
        return Views(everything, everything.astype(float), prompt_masks=hidden)


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
        mask = _stream(key).random((1, len(text.completion_ids))) < ratio
        return Views(mask, mask.astype(float))


@dataclass(frozen=True)
class CountedElboEstimator:
    """The evidence lower bound by subsets of an exact size, as ESPO draws them (arXiv 2512.03759).

    Each pair masks l positions, l uniform in 0..L, and the complement of them. A masked token counts L/l; the mean
    over l of the two halves is the bound but for the missing l = 0, which the factor (L + 1)/L makes up for.
    """

    pairs: int = 1

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        random, length = _stream(key), len(text.completion_ids)
        masks, weights = [], []
        for _ in range(self.pairs):
            count = int(random.integers(0, length + 1))
            subset = np.zeros(length, dtype=bool)
            subset[random.permutation(length)[:count]] = True
            for mask in (subset, ~subset):
                masks.append(mask)
                weights.append(mask * ((length + 1) / max(1, int(mask.sum()))))
        return Views(np.stack(masks), np.stack(weights) / (2.0 * self.pairs))


@dataclass(frozen=True)
class QuadratureElboEstimator:
    """The evidence lower bound by Gauss-Legendre quadrature over the mask ratio, as in GDPO (arXiv 2510.08554).

    At each of ``nodes`` fixed ratios t one subset is drawn, every position with probability t; a masked token
    counts 1/t times the node's weight. The integral over t is exact for likelihoods that are polynomials in t of
    degree up to 2 ``nodes`` - 1.
    """

    nodes: int = 2

    complete = False

    def views(self, key: SampleKey, text: Text) -> Views:
        points, shares = np.polynomial.legendre.leggauss(self.nodes)
        ratios = (points[:, None] + 1.0) / 2.0
        masks = _stream(key).random((self.nodes, len(text.completion_ids))) < ratios
        return Views(masks, masks * (shares[:, None] / 2.0) / ratios)
