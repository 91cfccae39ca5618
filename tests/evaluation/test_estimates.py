from __future__ import annotations

from statistics import fmean

import pytest

from evaluation.analysis.estimates import estimate, estimate_difference, shares_best

SOME = {0: 0.0, 1: 1.0, 2: 0.5, 3: 0.0, 4: 1.0, 7: 0.25}


def test_a_mean_over_tasks_has_an_interval_around_it() -> None:
    found = estimate(SOME)
    assert found is not None
    assert (found.value, found.tasks) == (pytest.approx(fmean(SOME.values())), 6)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high < 1
    # A standard error of 0.17 either way, times about 2; the same every time.
    assert found.high - found.low == pytest.approx(4 * 0.17, abs=0.12)
    assert estimate(SOME) == found


def test_one_task_has_no_interval_and_no_task_no_mean() -> None:
    found = estimate({3: 0.5})
    assert found is not None
    assert (found.value, found.low, found.high, found.tasks) == (0.5, None, None, 1)
    assert estimate({}) is None


def test_a_difference_is_of_the_same_tasks() -> None:
    less = {index: value - 0.125 for index, value in SOME.items()} | {9: 5.0}
    found = estimate_difference(SOME | {8: 3.0}, less)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.125, 0.125, 0.125))
    assert found.tasks == 6


def test_shares_say_how_sure_the_best_is() -> None:
    better = {index: value + 0.01 for index, value in SOME.items()}
    assert shares_best([SOME, better]) == [0, 1]
    assert shares_best([SOME, dict(SOME)]) == [0.5, 0.5]
    assert shares_best([better, SOME, dict(better)]) == [0.5, 0, 0.5]
    shuffled = dict(zip(SOME, [1.0, 0.0, 0.5, 1.0, 0.25, 0.0], strict=True))
    shares = shares_best([SOME, shuffled])
    assert sum(shares) == pytest.approx(1)
    assert 0.2 < shares[0] < 0.8
    assert shares_best([SOME, {99: 1.0}]) == [0, 0]
    assert shares_best([]) == []
