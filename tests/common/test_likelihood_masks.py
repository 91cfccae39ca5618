"""What holds of the random masks of every draw, and what is made of views."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_blocks import BlockElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.views import Estimator, SampleKey, Text, Views

LENGTH = 40
TEXT = Text(prompt_ids=(7, 8, 9), completion_ids=tuple(range(10, 10 + LENGTH)), valid_tokens=LENGTH)
KEYS = [
    SampleKey(seed, group, sample, it)
    for seed in (0, 7)
    for group in (0, 3, 500)
    for sample in (0, 1, 9)
    for it in (0, 1)
]
RANDOM: list[Estimator] = [
    CoupledEstimator(1),
    CoupledEstimator(3, weighting="normalized"),
    CoupledEstimator(2, complements=False),
    FullMaskEstimator(0.5),
    RandomMaskEstimator(2),
    CountedElboEstimator(2),
    QuadratureElboEstimator(3),
]


def same(one: Views, other: Views) -> bool:
    prompts = (one.prompt_masks is None) == (other.prompt_masks is None) and (
        one.prompt_masks is None or np.array_equal(one.prompt_masks, other.prompt_masks)
    )
    return prompts and np.array_equal(one.masks, other.masks) and np.array_equal(one.weights, other.weights)


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_every_token_is_in_exactly_one_mask_of_each_pair(pairs: int) -> None:
    for key in KEYS:
        coupled = CoupledEstimator(pairs).views(key, TEXT).masks
        counted = CountedElboEstimator(pairs).views(key, TEXT).masks
        assert coupled.shape == (1 + 2 * pairs, LENGTH)
        assert counted.shape == (2 * pairs, LENGTH)
        assert coupled[0].all()
        for masks in (coupled[1:], counted):
            assert (masks[::2] ^ masks[1::2]).all()


def test_decoupled_has_as_many_views_which_are_no_complements() -> None:
    for key in KEYS:
        masks = CoupledEstimator(2, complements=False).views(key, TEXT).masks
        assert masks.shape == (5, LENGTH)
        assert masks[0].all()
        assert not any((masks[i] ^ masks[j]).all() for i in range(1, 5) for j in range(i))


@pytest.mark.parametrize("estimator", [*RANDOM, BlockElboEstimator(2, 8, 0.15)], ids=repr)
def test_weights_are_zero_where_nothing_is_masked_and_only_there(estimator: Estimator) -> None:
    for key in KEYS:
        views = estimator.views(key, TEXT)
        assert np.array_equal(views.weights > 0, views.masks)
        assert np.isfinite(views.weights).all()


@pytest.mark.parametrize("length", [1, 2, LENGTH])
@pytest.mark.parametrize("estimator", RANDOM, ids=repr)
def test_complete_estimators_measure_every_token(estimator: Estimator, length: int) -> None:
    text = replace(TEXT, completion_ids=TEXT.completion_ids[:length], valid_tokens=length)
    covered = [estimator.views(SampleKey(1, g, 0, 0), text).measured(text).any(0).all() for g in range(200)]
    assert all(covered) == estimator.complete


@pytest.mark.parametrize("estimator", RANDOM, ids=repr)
def test_masks_are_a_pure_function_of_the_key_and_the_lengths(estimator: Estimator) -> None:
    """In any order, after other draws, for any share of the samples, and whatever the tokens are."""
    forwards = [estimator.views(key, TEXT) for key in KEYS]
    np.random.seed(3)
    backwards = [replace(estimator).views(key, TEXT) for key in reversed(KEYS)][::-1]  # type: ignore[type-var]
    second_rank = [estimator.views(key, TEXT) for key in KEYS[1::2]]
    other = replace(TEXT, completion_ids=(5,) * LENGTH, prompt_ids=(1, 1, 1), valid_tokens=3, step_map=(0, 1, 2))
    assert all(map(same, forwards, backwards))
    assert all(map(same, forwards[1::2], second_rank))
    assert all(same(views, estimator.views(key, other)) for key, views in zip(KEYS, forwards, strict=True))


@pytest.mark.parametrize("estimator", RANDOM, ids=repr)
@pytest.mark.parametrize("field", ["seed", "group", "sample", "iteration"])
def test_every_part_of_the_key_changes_the_masks(estimator: Estimator, field: str) -> None:
    """A fresh draw for each inner iteration among them."""
    text = replace(TEXT, prompt_ids=(3,) * 60)
    views = [estimator.views(replace(SampleKey(1, 2, 3, 0), **{field: value}), text) for value in range(8)]
    assert not any(same(views[i], views[j]) for i in range(8) for j in range(i))


def ratios(low: float, high: float, count: int) -> npt.NDArray[np.float64]:
    """The ratio of each sample's first mask, read off its weights."""
    estimator = CoupledEstimator(1, (low, high))
    drawn = [estimator.views(SampleKey(0, group, 1, 0), TEXT).weights[1].max() for group in range(count)]
    return 1.0 / (2.0 * np.asarray(drawn))


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.3, 0.4)])
def test_ratios_are_uniform_in_their_range_and_differ_by_sample(low: float, high: float) -> None:
    count, bins = 4000, 10
    found = ratios(low, high, count)
    assert len(set(found.round(12))) == count
    inside, _ = np.histogram(found, bins, (low - 1e-12, high + 1e-12))
    assert inside.sum() == count
    spread = sqrt(count / bins * (1 - 1 / bins))
    assert np.abs(inside - count / bins).max() < 4.5 * spread


def test_positions_are_masked_with_their_ratio_each_by_itself() -> None:
    """Counts of a given ratio have the mean and the variance of the binomial distribution."""
    drawn = [CoupledEstimator(1, (0.3, 0.3)).views(SampleKey(0, g, 1, 0), TEXT).masks[1] for g in range(4000)]
    per_position, per_sample = np.sum(drawn, 0), np.sum(drawn, 1)
    spread = 0.3 * 0.7 * LENGTH
    assert np.abs(per_position - 4000 * 0.3).max() < 4.5 * sqrt(4000 * 0.3 * 0.7)
    assert abs(per_sample.mean() - 0.3 * LENGTH) < 4.5 * sqrt(spread / 4000)
    assert per_sample.var() == pytest.approx(spread, rel=0.1)  # its standard error is 2.2%


def test_counted_subsets_have_uniform_sizes_and_positions() -> None:
    text = replace(TEXT, completion_ids=(2,) * 7, valid_tokens=7)
    drawn = np.stack([CountedElboEstimator().views(SampleKey(0, g, 1, 0), text).masks[0] for g in range(4000)])
    sizes = np.bincount(drawn.sum(1), minlength=8)
    assert np.abs(sizes - 500).max() < 4.5 * sqrt(4000 / 8 * 7 / 8)
    assert np.abs(drawn.sum(0) - 2000).max() < 4.5 * sqrt(4000 / 4)


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_ratios_of_random_masks_are_spaced_evenly_over_the_iterations(iterations: int) -> None:
    text = replace(TEXT, completion_ids=(2,) * 200_000, valid_tokens=200_000)
    starts = []
    for sample in range(6):
        keys = [SampleKey(0, 0, sample, it) for it in range(iterations)]
        shares = [RandomMaskEstimator(iterations).views(key, text).masks.mean() for key in keys]
        starts.append(shares[0] % (1 / iterations))
        even = (shares[0] + np.arange(iterations) / iterations) % 1.0
        assert np.abs(shares - even).max() < 0.01
    assert np.ptp(starts) > 0.3 / iterations


def test_quadrature_masks_at_the_nodes() -> None:
    text = replace(TEXT, completion_ids=(2,) * 200_000, valid_tokens=200_000)
    views = QuadratureElboEstimator(2).views(KEYS[0], text)
    nodes = [0.5 - sqrt(1 / 12), 0.5 + sqrt(1 / 12)]
    assert views.masks.mean(1) == pytest.approx(nodes, abs=0.01)
    assert views.weights.max(1) == pytest.approx([0.5 / t for t in nodes])


def test_blocks_are_masked_in_part_and_what_follows_them_whole() -> None:
    text = replace(TEXT, valid_tokens=30)
    starts, firsts = set(), []
    for key in KEYS * 3:
        keyed = replace(key, sample=key.sample + len(firsts))
        views = BlockElboEstimator(2, 8).views(keyed, text)
        assert same(views, BlockElboEstimator(2, 8).views(keyed, replace(text, completion_ids=(5,) * LENGTH)))
        assert views.masks[:, 30:].all()
        for mask, weights in zip(views.masks, views.weights, strict=True):
            first = int(mask.argmax())
            firsts.append(first)
            start = first // 8 * 8
            starts.add(start)
            assert mask[start + 8 :].all()
            assert weights[:30].sum() == pytest.approx(30 / 2)
    assert starts == {0, 8, 16, 24}
    assert len(set(firsts)) > 8


def test_blocks_hide_a_share_of_what_comes_before() -> None:
    text = replace(TEXT, prompt_ids=(3,) * 50_000, completion_ids=(2,) * 50_000, valid_tokens=50_000)
    views = BlockElboEstimator(40, 1250, 0.15).views(KEYS[0], text)
    assert views.prompt_masks is not None
    assert views.prompt_masks.mean() == pytest.approx(0.15, abs=0.005)
    before = [mask[: (len(mask) - 1250) // 2] for mask in views.masks if not mask[:1250].all()]
    assert any(mask.mean() == pytest.approx(0.15, abs=0.01) for mask in before)


def test_canvases_hide_what_is_masked_and_show_what_is_visible() -> None:
    text = Text(prompt_ids=(7, 8), completion_ids=(4, 5, 6), valid_tokens=2)
    masks = np.array([[True, False, True], [False, False, False]])
    plain = Views(masks, masks.astype(float))
    assert plain.canvases(text, 1).tolist() == [[7, 8, 1, 5, 1], [7, 8, 4, 5, 6]]
    visible = np.array([[9, 9, 9], [4, 5, 3]])
    hidden = np.array([[False, True], [True, True]])
    other = Views(masks, masks.astype(float), visible=visible, prompt_masks=hidden)
    assert other.canvases(text, 1).tolist() == [[7, 1, 1, 9, 1], [1, 1, 4, 5, 3]]


def test_scored_are_valid_tokens_with_a_weight() -> None:
    text = Text(prompt_ids=(7,), completion_ids=(4, 5, 6), valid_tokens=2)
    weights = np.array([[0.5, 0.0, 2.0], [0.0, -1.0, 1.0]])
    views = Views(np.ones((2, 3), dtype=bool), weights.copy())
    assert views.measured(text).tolist() == [[True, False, False], [False, True, False]]
    assert np.array_equal(views.weights, weights)


def test_full_mask_hides_part_of_the_prompt() -> None:
    text = replace(TEXT, prompt_ids=(3,) * 100_000)
    views = FullMaskEstimator(0.15).views(KEYS[0], text)
    canvases = views.canvases(text, 1)
    assert (canvases[:, 100_000:] == 1).all()
    assert (canvases[:, :100_000] == 1).mean() == pytest.approx(0.15, abs=0.005)
    assert views.measured(text).all()
