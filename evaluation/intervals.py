"""Bootstrap intervals over tasks: how far a score would move with other tasks of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common import rng

RESAMPLES = 2000
#: Share of the resamples whose means an interval holds.
CONFIDENCE = 0.95
#: Low and high end.
Interval = tuple[float, float]
_SEED = 0


def bootstrap_interval(scores: Sequence[float]) -> Interval:
    """Return the percentile bootstrap interval of the mean of ``scores``, one for each task.

    Tasks are drawn with replacement, the same ones for as many scores. Raises ValueError for no scores.
    """
    return best_interval([scores])


def best_interval(columns: Sequence[Sequence[float]]) -> Interval:
    """Return the interval of the best mean of columns of scores, each with one score for each of the same tasks.

    Every resample chooses the best column anew, so that the interval has the choice in it. Raises ValueError for
    no scores.
    """
    return _ends(resampled_means(columns).max(axis=0))


def interval_of_mean(sets: Sequence[Sequence[float]]) -> Interval:
    """Return the interval of the mean of the means of several sets of tasks, each resampled on its own.

    Raises ValueError for a set without scores.
    """
    return _ends(np.mean([resampled_means([scores], number)[0] for number, scores in enumerate(sets)], axis=0))


def resampled_means(columns: Sequence[Sequence[float]], number: int = 0) -> NDArray[np.float64]:
    """Return the means [columns, resamples] over tasks that are drawn alike for all columns.

    Raises ValueError for no scores, and for columns of several lengths.
    """
    scores = np.array(columns, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise ValueError("the scores of at least one task must be given, as many in each column")
    tasks = scores.shape[1]
    drawn = rng.stream(_SEED, "bootstrap", tasks, number).integers(tasks, size=(RESAMPLES, tasks))
    return np.stack([column[drawn].mean(axis=1) for column in scores])


def _ends(means: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
