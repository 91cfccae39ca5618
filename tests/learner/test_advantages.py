from __future__ import annotations

from statistics import fmean, pstdev, stdev
from typing import get_args

import pytest

from learner.advantages import AdvantageMode, group_advantages, has_variance

REWARDS = [0.0, 2.5, 0.5, 1.0]
ALL = [True] * 4
MODES = get_args(AdvantageMode)


def test_mean_subtracts_the_group_mean() -> None:
    assert group_advantages(REWARDS, ALL, "mean") == pytest.approx([-1.0, 1.5, -0.5, 0.0])


def test_loo_subtracts_the_mean_of_the_others() -> None:
    expected = [r - fmean(REWARDS[:i] + REWARDS[i + 1 :]) for i, r in enumerate(REWARDS)]
    assert group_advantages(REWARDS, ALL, "loo") == pytest.approx(expected)


def test_mean_std_divides_by_the_standard_deviation() -> None:
    for mode, scale in (("mean_std", pstdev(REWARDS)), ("mean_sample_std", stdev(REWARDS))):
        expected = [(r - 1.0) / (scale + 1e-4) for r in REWARDS]
        assert group_advantages(REWARDS, ALL, mode) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_excluded_samples_change_nothing_for_the_others(mode: AdvantageMode) -> None:
    alone = group_advantages([0.0, 2.5, 1.0], [True] * 3, mode)
    for placeholder in (0.0, 99.0):
        found = group_advantages([0.0, placeholder, 2.5, 1.0], [True, False, True, True], mode)
        assert found == pytest.approx([alone[0], 0.0, alone[1], alone[2]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("valid", [[False] * 4, [False, True, False, False]])
def test_without_a_baseline_all_advantages_are_zero(mode: AdvantageMode, valid: list[bool]) -> None:
    assert group_advantages(REWARDS, valid, mode) == [0.0] * 4


@pytest.mark.parametrize("mode", MODES)
def test_equal_rewards_give_no_advantage(mode: AdvantageMode) -> None:
    assert group_advantages([0.1] * 3, [True] * 3, mode) == [0.0] * 3  # whose mean is not 0.1 in floating point


@pytest.mark.parametrize(
    ("rewards", "valid", "expected"),
    [
        ([1.0, 0.0], [True, True], True),
        ([1.0, 1.0], [True, True], False),
        ([1.0, 0.0], [True, False], False),
        ([1.0, 0.0, 1.0], [True, False, True], False),
        ([1.0, 0.0, 0.5], [True, False, True], True),
        ([1.0], [True], False),
        ([], [], False),
    ],
)
def test_variance_is_judged_by_valid_samples_alone(
    rewards: list[float], valid: list[bool], expected: bool
) -> None:
    assert has_variance(rewards, valid) is expected
