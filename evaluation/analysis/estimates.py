"""Means over tasks with bootstrap intervals, differences of the same tasks, and how sure a best one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evaluation.intervals import bootstrap_interval, resampled_means

_DIGITS = 9

ByTask = Mapping[int, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over ``tasks`` tasks. ``low`` and ``high`` bound its bootstrap interval; ``None`` of one task."""

    value: float
    low: float | None
    high: float | None
    tasks: int


def estimate(values: ByTask) -> Estimate | None:
    """Average a value over tasks, with the interval that an evaluation shows; ``None`` where no task has one."""
    if not values:
        return None
    ordered = [values[index] for index in sorted(values)]
    low, high = bootstrap_interval(ordered) if len(ordered) > 1 else (None, None)
    return Estimate(fmean(ordered), low, high, len(ordered))


def estimate_difference(values: ByTask, less: ByTask) -> Estimate | None:
    """Average ``values - less`` over the tasks that have both: a paired comparison."""
    return estimate({index: value - less[index] for index, value in values.items() if index in less})


def shares_best(candidates: Sequence[ByTask]) -> list[float]:
    """Compute in which share of the resamples of the tasks each candidate has the highest mean.

    Over the tasks that all candidates have; equal ones share a resample. All are 0 where there is no such
    task.
    """
    shared = sorted(set.intersection(*(set(one) for one in candidates))) if candidates else []
    if not shared:
        return [0.0] * len(candidates)
    means = resampled_means([[one[index] for index in shared] for one in candidates])
    means = means.round(_DIGITS)  # sums of equal values in another order are equal
    wins = means == means.max(axis=0)
    shares: list[float] = (wins / wins.sum(axis=0)).mean(axis=1).tolist()
    return shares
