"""Group-relative advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

AdvantageMode = Literal["mean", "loo", "mean_std", "mean_sample_std"]

_STD_FLOOR = 1e-4


def group_advantages(rewards: Sequence[float], valid: Sequence[bool], mode: AdvantageMode) -> list[float]:
    """Compute the advantage of each sample of one group; excluded samples get 0 and do not enter the baseline.

    ``mean``: r - mean(r) (DiffuCoder, algorithm 1). ``loo``: r - mean of the others. ``mean_std``: divided by
    the standard deviation, ``mean_sample_std``: by that with n - 1 for n. Where no two valid samples differ in
    reward, all advantages are 0.
    """
    reward = np.asarray(rewards, dtype=np.float64)
    mask = np.asarray(valid, dtype=bool)
    count = int(mask.sum())
    if not has_variance(rewards, valid):
        return [0.0] * len(reward)
    mean = reward[mask].mean()
    advantage = np.where(mask, reward - mean, 0.0)
    if mode == "loo":
        advantage *= count / (count - 1)
    elif mode != "mean":
        advantage /= reward[mask].std(ddof=int(mode == "mean_sample_std")) + _STD_FLOOR
    return [float(a) for a in advantage]


def has_variance(rewards: Sequence[float], valid: Sequence[bool]) -> bool:
    """Return whether the valid samples of a group differ in reward, so that it carries a learning signal."""
    return len({reward for reward, ok in zip(rewards, valid, strict=True) if ok}) > 1
