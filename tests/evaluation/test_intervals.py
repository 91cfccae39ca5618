from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from common import rng
from evaluation.intervals import CONFIDENCE, RESAMPLES, best_interval, bootstrap_interval, interval_of_mean


def naive(columns: list[list[float]]) -> tuple[float, float]:
    """Resample one task after the other, and take the ends off the sorted means."""
    tasks = len(columns[0])
    generator = rng.stream(0, "bootstrap", tasks, 0)
    best = []
    for _ in range(RESAMPLES):
        drawn = [int(generator.integers(tasks)) for _ in range(tasks)]
        best.append(max(fmean(column[place] for place in drawn) for column in columns))
    best.sort()
    ends = []
    for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        place = share * (len(best) - 1)
        below = int(place)
        above = min(below + 1, len(best) - 1)
        ends.append(best[below] + (place - below) * (best[above] - best[below]))
    return ends[0], ends[1]


def test_intervals_are_those_of_a_plain_loop() -> None:
    first, other = [0.0, 1.0, 1.0, 0.25, 0.0, 0.5, 1.0], [1.0, 0.0, 0.0, 0.5, 0.75, 0.0, 1.0]
    assert bootstrap_interval(first) == pytest.approx(naive([first]))
    assert best_interval([first, other]) == pytest.approx(naive([first, other]))


def test_an_interval_covers_as_often_as_it_says() -> None:
    """The means of 60 tasks of which each passes with probability 0.7, 400 times."""
    tasks = np.random.default_rng(1).random((400, 60)) < 0.7
    intervals = [bootstrap_interval(list(map(float, row))) for row in tasks]
    covered = fmean(low <= 0.7 <= high for low, high in intervals)
    assert covered == pytest.approx(CONFIDENCE, abs=0.04)


def test_the_choice_of_the_best_is_in_its_interval() -> None:
    """Of columns that are equally good, the best of a resample is above each of them."""
    draws = (np.random.default_rng(2).random((6, 40)) < 0.5).astype(float).tolist()
    low, high = best_interval(draws)
    assert low > max(bootstrap_interval(column)[0] for column in draws)
    assert high >= max(bootstrap_interval(column)[1] for column in draws)


def test_scores_that_agree_have_no_width_and_none_have_no_interval() -> None:
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least one task"):
        bootstrap_interval([])


def test_the_mean_of_two_sets_has_the_variance_of_both() -> None:
    """As (a + b) / 2 of independent a and b has, whether there are as many tasks in both or not."""
    first, other = [0.0, 1.0] * 50, [1.0, 0.0, 0.0, 0.0] * 40
    for sets in ([first, other], [first, first]):
        low, high = interval_of_mean(sets)
        variance = sum(fmean(scores) * (1 - fmean(scores)) / len(scores) for scores in sets) / 4
        assert (high - low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.1)
        assert (low + high) / 2 == pytest.approx(fmean(map(fmean, sets)), abs=0.01)
    with pytest.raises(ValueError, match="at least one task"):
        interval_of_mean([first, []])
