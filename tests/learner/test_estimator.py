from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common import rng
from learner.estimator import CoupledEstimator, SampleKey

LENGTH = 40
KEYS = [
    SampleKey(seed, group, sample, it) for seed in (0, 7) for group in (0, 3) for sample in (0, 1) for it in (0, 1)
]


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_every_token_is_in_exactly_one_mask_of_each_pair(pairs: int) -> None:
    for key in KEYS:
        masks = CoupledEstimator(pairs).views(key, LENGTH).masks
        assert masks.shape == (1 + 2 * pairs, LENGTH)
        assert masks[0].all()
        for j in range(pairs):
            assert (masks[1 + 2 * j].astype(int) + masks[2 + 2 * j].astype(int) == 1).all()


@pytest.mark.parametrize("pairs", [1, 3])
def test_weights_are_those_of_the_paper(pairs: int) -> None:
    for key in KEYS:
        views = CoupledEstimator(pairs, (0.2, 0.8)).views(key, LENGTH)
        draws = rng.stream(key.seed, "masks", key.group, key.sample, key.iteration)
        assert views.weights[0] == pytest.approx(np.full(LENGTH, 1 / (pairs + 1)))
        for j in range(pairs):
            rate = 0.2 + 0.6 * draws.random()
            subset = draws.random(LENGTH) < rate
            assert (views.masks[1 + 2 * j] == subset).all()
            for k in range(LENGTH):
                inside = 1 / rate / (pairs + 1) if subset[k] else 0.0
                outside = 0.0 if subset[k] else 1 / (1 - rate) / (pairs + 1)
                assert views.weights[1 + 2 * j, k] == pytest.approx(inside)
                assert views.weights[2 + 2 * j, k] == pytest.approx(outside)


def test_weight_is_zero_where_nothing_is_masked_and_only_there() -> None:
    for key in KEYS:
        views = CoupledEstimator(2).views(key, LENGTH)
        assert ((views.weights > 0) == views.masks).all()


@pytest.mark.parametrize(("pairs", "total"), [(1, 1.5), (2, 5 / 3), (4, 9 / 5)])
def test_mean_total_weight_of_a_token(pairs: int, total: float) -> None:
    def mean(weighting: str) -> float:
        estimator = CoupledEstimator(pairs, weighting=weighting)  # type: ignore[arg-type]
        sums = [estimator.views(SampleKey(1, g, 0, 0), LENGTH).weights.sum(0).mean() for g in range(2000)]
        return float(np.mean(sums))

    assert mean("paper") == pytest.approx(total, rel=0.02)
    assert mean("normalized") == pytest.approx(1.0, rel=0.02)


def test_masks_are_a_pure_function_of_the_key() -> None:
    estimator = CoupledEstimator(2)
    forwards = [estimator.views(key, LENGTH) for key in KEYS]
    np.random.seed(3)
    backwards = [CoupledEstimator(2).views(key, LENGTH) for key in reversed(KEYS)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert (one.masks == other.masks).all()
        assert (one.weights == other.weights).all()


@pytest.mark.parametrize("field", ["seed", "group", "sample", "iteration"])
def test_every_part_of_the_key_changes_the_masks(field: str) -> None:
    key = SampleKey(1, 2, 3, 4)
    other = replace(key, **{field: getattr(key, field) + 1})
    estimator = CoupledEstimator()
    assert (estimator.views(key, LENGTH).masks != estimator.views(other, LENGTH).masks).any()


def test_ratios_span_their_range_and_are_drawn_for_each_sample() -> None:
    shares = [
        CoupledEstimator(1, (0.2, 0.8)).views(SampleKey(0, 0, sample, 0), 4000).masks[1].mean()
        for sample in range(200)
    ]
    assert 0.17 < min(shares) < 0.25
    assert 0.75 < max(shares) < 0.83
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
