"""What is masked: shares and lengths as they are defined, and nothing that a batch could change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from common.config import DenoisingConfig
from learner.stages.noise import Noised, conditional_share, held_out_noised, noised
from learner.stages.segments import Segment

SEED = 3
LENGTH = 10
#: So many that a share of them is within 0.03 of its probability but for one test in 10^4.
COUNT = 4000
DOCUMENT = Segment(np.arange(100, 100 + LENGTH), (0, 0, 0, 0))
EXAMPLE = Segment(np.arange(100, 100 + LENGTH), (0, 0, 0, 0), prompt=3, padding=4)


def many(segment: Segment, share: float = 1.0, **settings: Any) -> list[Noised]:
    config = DenoisingConfig.model_validate(settings)
    segments = [replace(segment, key=(0, number, 0, 0)) for number in range(COUNT)]
    return [noised(segment, config, SEED, share, shift=False) for segment in segments]


def near(value: Any, expected: float) -> bool:
    return abs(float(value) - expected) < 0.03


def assert_uniform(values: Sequence[float] | npt.NDArray[Any], low: float, high: float) -> None:
    """Quartiles, and no value outside."""
    assert low <= min(values) and max(values) <= high  # noqa: PT018
    for part in (0.25, 0.5, 0.75):
        assert near(np.mean(np.asarray(values) < low + part * (high - low)), part)


def test_ratios_are_uniform_and_tokens_are_masked_at_them() -> None:
    drawn = many(DOCUMENT, t_min=0.2)
    assert_uniform([segment.ratio for segment in drawn], 0.2, 1.0)
    for low in (0.2, 0.4, 0.6, 0.8):
        some = [segment for segment in drawn if low <= segment.ratio < low + 0.2]
        share = np.mean([segment.mask for segment in some], axis=0)
        expected = np.mean([segment.ratio for segment in some])
        assert np.abs(share - expected).max() < 0.07  # a quarter of the segments, at each of the positions
    for segment in drawn[:50]:
        assert segment.weights == pytest.approx(np.where(segment.mask, 1 / segment.ratio, 0))
        assert segment.canvas(7).tolist() == np.where(segment.mask, 7, segment.ids).tolist()


def test_a_share_is_cut_at_any_length() -> None:
    drawn = many(DOCUMENT, truncate_share=0.4)
    lengths = np.array([len(segment) for segment in drawn])
    shares = np.bincount(lengths, minlength=LENGTH + 1) / COUNT
    assert shares[0] == 0
    assert all(near(share, 0.04) for share in shares[1:LENGTH])
    assert near(shares[LENGTH], 0.64)
    assert all(segment.ids.tolist() == DOCUMENT.ids[: len(segment)].tolist() for segment in drawn)


def test_a_share_begins_with_tokens_that_stay() -> None:
    drawn = many(DOCUMENT, prefix_share=0.5, truncate_share=0.5)
    whole = [segment for segment in drawn if len(segment) == LENGTH]
    stay = np.array([LENGTH - segment.targets.sum() for segment in whole])
    assert near(np.mean(stay == 0), 0.5)
    assert_uniform(np.random.default_rng(0).random(sum(stay > 0)) + stay[stay > 0] - 1, 0, LENGTH)
    for segment in drawn:
        first = len(segment) - segment.targets.sum()
        assert segment.targets.tolist() == [i >= first for i in range(len(segment))]
        assert not segment.mask[:first].any()


def test_no_setting_changes_what_another_one_draws() -> None:
    plain = many(DOCUMENT)
    for cut in (many(DOCUMENT, truncate_share=1.0), many(DOCUMENT, prefix_share=1.0)):
        for one, other in zip(plain, cut, strict=True):
            where = other.targets
            assert one.ratio == other.ratio
            assert one.mask[: len(other)][where].tolist() == other.mask[where].tolist()


def test_noise_belongs_to_the_segment_and_its_epoch() -> None:
    settings = DenoisingConfig()

    def mask(key: tuple[int, int, int, int], seed: int = SEED) -> list[bool]:
        long = Segment(np.arange(200), key)
        found: list[bool] = noised(long, settings, seed, 1.0, shift=True).mask.tolist()
        return found

    assert mask((1, 2, 3, 4)) == mask((1, 2, 3, 4))
    others = [mask(key) for key in ((0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0))]
    others += [mask((1, 2, 3, 4), seed=SEED + 1)]
    assert all(other != mask((1, 2, 3, 4)) for other in others)


@pytest.mark.parametrize("segment", [DOCUMENT, EXAMPLE])
def test_with_shift_nothing_predicts_the_first_token(segment: Segment) -> None:
    settings = DenoisingConfig(t_min=1.0)
    shifted = noised(segment, settings, SEED, 0.0, shift=True)
    plain = noised(segment, settings, SEED, 0.0, shift=False)
    assert shifted.mask.all()
    assert plain.targets.all()
    assert shifted.targets.tolist() == [False] + [True] * (LENGTH - 1)
    assert shifted.weights[0] == 0 < plain.weights[0]


@pytest.mark.parametrize(("epochs", "share"), [(0.0, 0.0), (0.5, 0.25), (2.0, 1.0), (7.0, 1.0)])
def test_examples_become_conditional_over_the_phase_in(epochs: float, share: float) -> None:
    settings = {"phase_in_epochs": 2.0, "truncate_share": 1.0, "prefix_share": 1.0}
    found = conditional_share(DenoisingConfig.model_validate(settings), epochs)
    assert found == share
    drawn = many(EXAMPLE, found, **settings)
    conditional = [segment for segment in drawn if not segment.targets[:3].any()]
    assert near(len(conditional) / COUNT, share)
    assert not any(segment.mask[:3].any() for segment in conditional)
    # Neither cut nor with a beginning that stays: all of an example, or its whole answer, may be masked.
    assert all(segment.targets[3:].all() and len(segment) == LENGTH for segment in drawn)
    assert all(segment.targets.all() for segment in drawn if segment.targets[:3].any())
    assert conditional_share(DenoisingConfig(), epochs) == 1.0


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_pads_weigh_what_they_are_given(weight: float) -> None:
    segment = noised(EXAMPLE, DenoisingConfig(t_min=1.0, pad_weight=weight), SEED, 1.0, shift=True)
    assert segment.weights.tolist() == [0, 0, 0, 1, 1, 1, *[weight] * 4]
    assert segment.masked_targets == 7  # whatever they weigh


def test_held_out_masks_stay_and_grow_with_the_ratio() -> None:
    segments = [replace(EXAMPLE, key=(0, number, 0, 0)) for number in range(COUNT)]
    few, again, more = (
        [held_out_noised(segment, ratio, SEED, shift=True) for segment in segments] for ratio in (0.3, 0.3, 0.7)
    )
    for one, same, larger in zip(few, again, more, strict=True):
        assert one.mask.tolist() == same.mask.tolist()
        assert not (one.mask & ~larger.mask).any()
        assert not larger.mask[:3].any()
        assert larger.weights.tolist() == [float(m and i < LENGTH - 4) for i, m in enumerate(larger.mask)]
    assert near(np.mean([segment.mask[3:] for segment in few]), 0.3)
    assert near(np.mean([segment.mask[3:] for segment in more]), 0.7)
