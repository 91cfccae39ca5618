"""Means over tasks with bootstrap intervals, differences of the same tasks, and how sure a best one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from common import rng

#: Resamples of the tasks, and the share of them that an interval covers.
RESAMPLES, COVERED = 2000, 0.95

ByTask = Mapping[int, float]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over ``tasks`` tasks. ``low`` and ``high`` bound its bootstrap interval; ``None`` of one task."""

    value: float
    low: float | None
    high: float | None
    tasks: int


def estimate(values: ByTask) -> Estimate | None:
    """Average a value over tasks: its 95 % percentile interval is over the draw of the tasks.

    ``None`` where no task has one.
    """
    return _estimate(np.array(list(values.values()))) if values else None


def estimate_difference(values: ByTask, less: ByTask) -> Estimate | None:
    """Average ``values - less`` over the tasks that have both: a paired comparison."""
    return estimate({index: value - less[index] for index, value in values.items() if index in less})


def shares_best(candidates: Sequence[ByTask]) -> list[float]:
    """Compute in which share of the resamples of the tasks each candidate has the highest mean.

    Over the tasks that all candidates have; of equal ones the first is best. All are 0 where there is no such
    task.
    """
    shared = sorted(set.intersection(*(set(one) for one in candidates))) if candidates else []
    if not shared:
        return [0.0] * len(candidates)
    table = np.array([[one[index] for index in shared] for one in candidates])
    wins = np.argmax(table @ _weights(len(shared)).T, axis=0)
    return [float((wins == number).mean()) for number in range(len(candidates))]


def _estimate(values: Array) -> Estimate:
    tasks = len(values)
    if tasks < 2:
        return Estimate(float(values.mean()), None, None, tasks)
    means = _weights(tasks) @ values
    low, high = np.quantile(means, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Estimate(float(values.mean()), float(low), float(high), tasks)


@lru_cache(maxsize=8)
def _weights(tasks: int) -> Array:
    """How often each task is drawn, over their number: [RESAMPLES, tasks], the same for all that is compared."""
    draws = rng.stream(0, "bootstrap-tasks", tasks).multinomial(tasks, [1 / tasks] * tasks, size=RESAMPLES)
    return draws / tasks
