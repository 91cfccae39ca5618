"""Steps without a rise of the reward."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from orchestrator.reward_plateau import WINDOW, RewardPlateau


def counted(rewards: Iterable[float], std: float = 1.0) -> list[int]:
    plateau = RewardPlateau([])
    return [plateau.add({"reward/mean": reward, "reward/std": std}) for reward in rewards]


def noisy(slope: float, samples: int, steps: int = 300, seed: int = 0) -> list[float]:
    """Means of ``samples`` rewards with a standard deviation of 1 that rise by ``slope`` a step."""
    noise = random.Random(seed)
    return [slope * step + noise.gauss(0, samples**-0.5) for step in range(steps)]


def test_it_counts_from_the_tenth_step_on() -> None:
    assert counted([1.0] * 13) == [0] * WINDOW + [1, 2, 3]


def test_a_rise_is_a_tenth_of_the_spread_over_ten_steps() -> None:
    assert counted([1.0] * 20 + [1.05] * 20)[-1] == 30
    assert counted([1.0] * 20 + [1.05] * 20, std=0.4)[-1] == 11, "by 0.045 with the ninth step"
    assert counted([1.0] * 20 + [3.0] + [1.0] * 9)[20:] == [0, *range(1, 10)], "one lucky step of ten"


def test_a_fall_is_no_rise_and_neither_is_the_way_back() -> None:
    assert counted([1.0] * 10 + [0.0] * 10 + [1.0] * 10)[-1] == 20


@pytest.mark.parametrize("samples", [64, 1024])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_told_from_learning(samples: int, seed: int) -> None:
    """The alert's bound is 100 steps."""
    assert max(counted(noisy(0.0, samples, seed=seed))) >= 100
    assert max(counted(noisy(0.004, samples, seed=seed))) < 100


def test_a_resumed_run_goes_on_where_it_was() -> None:
    rewards = noisy(0.001, 64)
    records = [{"step": step, "reward/mean": reward, "reward/std": 1.0} for step, reward in enumerate(rewards, 1)]
    resumed = RewardPlateau(records[:200])
    assert [resumed.add(record) for record in records[200:]] == counted(rewards)[200:]
