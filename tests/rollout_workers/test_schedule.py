from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.records import Sampler
from rollout_workers.schedule import budget, budgets, random_steps


def sampler(**fields: Any) -> Sampler:
    return Sampler.model_validate({"temperature": 1.0, "top_p": 1.0} | fields)


def test_budgets_add_up_to_the_length_for_every_number_of_steps() -> None:
    for length in range(1, 80):
        for steps in range(1, length + 1):
            counts = [budget(step, steps, length) for step in range(steps)]
            assert sum(counts) == length
            assert max(counts) - min(counts) <= 1
            assert min(counts) >= 1


def test_one_step_commits_everything_and_length_steps_one_each() -> None:
    assert budget(0, 1, 28) == 28
    assert [budget(step, 28, 28) for step in range(28)] == [1] * 28


@pytest.mark.parametrize(
    ("length", "steps", "known"),
    [
        (256, 256, {0: 0, 1: 1, 254: 1, 255: 2}),
        (512, 512, {0: 0, 1: 1, 510: 1, 511: 2}),
        (256, 128, {0: 1, 1: 2, 127: 3}),
        (256, 64, {0: 3, 1: 4, 63: 5}),
    ],
)
def test_dreams_truncation_is_reproduced(length: int, steps: int, known: dict[int, int]) -> None:
    """The published schedule as reported: nothing at first and two at last where steps equal tokens."""
    counts = budgets(sampler(denoising_steps=steps, completion_length=length, upstream=True))
    assert sum(counts) == length
    assert {step: counts[step] for step in known} == known
    assert budgets(sampler(denoising_steps=steps, completion_length=length)) == (length // steps,) * steps


@pytest.mark.parametrize("upstream", [True, False])
@pytest.mark.parametrize("decoder", ["low_confidence", "random"])
def test_every_block_gets_its_own_exact_budget(decoder: str, upstream: bool) -> None:
    counts = budgets(
        sampler(decoder=decoder, denoising_steps=12, completion_length=32, block_length=8, upstream=upstream)
    )
    for block in range(4):
        assert sorted(counts[3 * block : 3 * block + 3]) == [2, 3, 3]
    if upstream:  # LLaDA hands the remainder out first
        assert counts[:3] == (3, 3, 2)


@pytest.mark.parametrize("fields", [{"decoder": "random", "block_length": 4}, {"decoder": "origin"}])
def test_random_order_keeps_the_budgets(fields: dict[str, Any]) -> None:
    setting = sampler(denoising_steps=8, completion_length=16, **fields)
    noise = np.random.default_rng(0).random(16)
    steps = random_steps(setting, noise)
    assert np.bincount(steps, minlength=8).tolist() == list(budgets(setting))
    block = setting.block_length or 16
    for start in range(0, 16, block):
        inside = steps[start : start + block]
        assert inside.min() == start // block * (8 * block // 16)
        assert (np.argsort(noise[start : start + block], kind="stable")[0]) in np.flatnonzero(
            inside == inside.min()
        )


def test_published_origin_commits_each_position_with_the_published_probability() -> None:
    setting = sampler(decoder="origin", denoising_steps=5, completion_length=20_000, upstream=True)
    steps = random_steps(setting, (np.arange(20_000) + 0.5) / 20_000)
    times = np.linspace(1, 1e-3, 6)
    expected = -np.diff(times) * 20_000
    expected[-1] += times[-1] * 20_000  # the last step commits all that is left
    assert np.abs(np.bincount(steps, minlength=5) - expected).max() <= 1
