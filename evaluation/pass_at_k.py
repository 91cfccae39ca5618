"""pass@k: the probability that at least one of k completions of a task passes its tests."""

from __future__ import annotations

from fractions import Fraction
from math import comb


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Estimate pass@k of a task without bias from ``samples`` completions, of which ``passed`` pass.

    It is the share of the subsets of k completions that hold one that passes, ``1 - C(n - c, k) / C(n, k)`` (Chen
    et al. 2021, equation 1), in exact arithmetic. Raises ValueError where k is not from 1 to ``samples``.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be from 1 to the number of samples, {samples}, not {k}")
    if not 0 <= passed <= samples:
        raise ValueError(f"passed must be from 0 to the number of samples, {samples}, not {passed}")
    return float(1 - Fraction(comb(samples - passed, k), comb(samples, k)))
