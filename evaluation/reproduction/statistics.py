"""Statistics of a few runs that differ in their seeds: means with intervals, and an exact paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt, tan
from statistics import fmean, stdev

import numpy as np

#: Sign vectors of the paired test are enumerated: 65536 for so many seeds.
MOST_SEEDS = 16
_NODES = 64
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Compute the mean of independent values with Student's interval of that level.

    It is infinite for a single value. Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values")
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, -np.inf, np.inf)
    half = student_quantile(0.5 + level / 2.0, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


@cache
def student_quantile(share: float, freedom: int) -> float:
    """Return the quantile, for a ``share`` of at least one half, of Student's t with ``freedom`` degrees.

    With t = sqrt(freedom) tan(a) the density is cos(a)^(freedom - 1) over -pi/2 to pi/2, up to its scale; the
    angle is found by bisection.
    """
    whole = 2.0 * _cosine_integral(np.pi / 2.0, freedom - 1)
    low, high = 0.0, np.pi / 2.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2.0
        reached = 0.5 + _cosine_integral(middle, freedom - 1) / whole
        low, high = (middle, high) if reached < share else (low, middle)
    return sqrt(freedom) * tan((low + high) / 2.0)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Compute the one-sided p-value of paired differences for "their mean is above 0", exactly.

    If neither of two arms is better, each difference is as likely to have the other sign: the p-value is the share
    of all 2^n choices of signs that give at least the mean which was found. Five seeds have at least 1/32. Raises
    ValueError for none, or for more than :data:`MOST_SEEDS`.
    """
    count = len(differences)
    if not 1 <= count <= MOST_SEEDS:
        raise ValueError(f"the paired test takes 1 to {MOST_SEEDS} differences, not {count}")
    found = np.asarray(differences, dtype=np.float64)
    signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    least = found.sum() - _TOLERANCE * np.abs(found).sum()
    return float((signs @ found >= least).mean())


def _cosine_integral(angle: float, power: int) -> float:
    """Integrate cos^power from 0 to ``angle``, by Gauss-Legendre."""
    points, shares = np.polynomial.legendre.leggauss(_NODES)
    return float((shares * np.cos(angle * (1.0 + points) / 2.0) ** power).sum() * angle / 2.0)
