"""Advantages of scored groups, from the reward or from each of its components by itself.

The second is group reward-decoupled normalization (arXiv 2601.05242, there called GDPO; the preset ``gdpo`` is
another paper's, arXiv 2510.08554). Normalized together, rewards of different sums become one advantage where their
ratios to the group's spread agree, and the component that varies most drowns the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

from common.records import Score
from learner.advantages import AdvantageMode, group_advantages, has_variance

ScoreAdvantageMode = AdvantageMode | Literal["per_reward"]

_STD_FLOOR = 1e-4


def score_advantages(scores: Sequence[Score], mode: ScoreAdvantageMode) -> list[float]:
    """Compute the advantage of each sample of one group; excluded samples get 0 and do not enter the baseline.

    ``per_reward``: each component, less its mean and over its standard deviation (with n - 1) in the group, times
    its weight, summed up; :func:`normalized_over_step` is then to follow. Other modes are those of
    :func:`learner.advantages.group_advantages`, of the reward.
    """
    valid = [not score.excluded for score in scores]
    if mode != "per_reward":
        return group_advantages([score.reward for score in scores], valid, mode)
    total = [0.0] * len(scores)
    for weight, values in _components(scores):
        advantages = group_advantages(values, valid, "mean_sample_std")
        total = [so_far + weight * one for so_far, one in zip(total, advantages, strict=True)]
    return total


def normalized_over_step(advantages: Sequence[float]) -> list[float]:
    """Take off the mean and divide by the standard deviation (with n - 1) of all samples of a step."""
    if len(advantages) < 2:
        return [0.0] * len(advantages)
    mean, scale = fmean(advantages), stdev(advantages) + _STD_FLOOR
    return [(one - mean) / scale for one in advantages]


def carries_signal(scores: Sequence[Score], mode: ScoreAdvantageMode) -> bool:
    """Tell whether the samples of a group that count differ in what their advantages are made of."""
    valid = [not score.excluded for score in scores]
    if mode != "per_reward":
        return has_variance([score.reward for score in scores], valid)
    return any(has_variance(values, valid) for _, values in _components(scores))


def _components(scores: Sequence[Score]) -> list[tuple[float, list[float]]]:
    """Return weight and values of each component that counts; an excluded sample may lack its value."""
    weights = {name: weight for score in scores for name, weight in score.weights.items() if weight}
    return [
        (weight, [score.components.get(name, 0.0) for score in scores]) for name, weight in sorted(weights.items())
    ]
