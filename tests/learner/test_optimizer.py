from __future__ import annotations

import math

import pytest
import torch
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from common.config import OptimizerConfig
from learner.optimizer import learning_rate, make_optimizer, set_learning_rate
from tests.learner.learner_tools import tiny_policy


def rates(updates: int, **settings: object) -> list[float]:
    config = OptimizerConfig.model_validate({"learning_rate": 1.0, "final_share": 0.1, **settings})
    return [learning_rate(config, update, updates) for update in range(updates + 3)]


def test_linear_falls_evenly_to_the_final_share_and_stays_there() -> None:
    assert rates(4, schedule="linear") == pytest.approx([1.0, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1])


def test_cosine_values() -> None:
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]
    assert rates(4, schedule="cosine")[:5] == pytest.approx(expected)


def test_constant_stays_at_its_peak() -> None:
    assert rates(4, schedule="constant") == [1.0] * 7


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_rises_linearly_from_zero(schedule: str) -> None:
    found = rates(10, schedule=schedule, warmup_steps=4)
    assert found[:5] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert found[4:] == sorted(found[4:], reverse=True)


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_rates_are_those_of_the_released_runs_schedule(warmup: int) -> None:
    """transformers' cosine_with_min_lr, which the released configuration names."""
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1.0)
    theirs = get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, 20, min_lr_rate=0.1)
    expected = []
    for _ in range(20):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert rates(20, schedule="cosine", warmup_steps=warmup)[:20] == pytest.approx(expected)


def test_a_warm_up_longer_than_the_run_is_no_error() -> None:
    assert rates(2, schedule="linear", warmup_steps=9)[:2] == pytest.approx([0.0, 1 / 9])


@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_matrices_decay_and_biases_and_norms_do_not(decay: float) -> None:
    model = tiny_policy().model
    optimizer = make_optimizer(model, OptimizerConfig(learning_rate=0.5, weight_decay=decay))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decays[id(p)] for name, p in model.named_parameters()}
    assert found == {name: 0.0 if "norm" in name or "bias" in name else decay for name in found}


def test_set_learning_rate_reaches_the_optimizer() -> None:
    config = OptimizerConfig(learning_rate=0.5, betas=(0.8, 0.9), weight_decay=0.3)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"], group["eps"]) == (0.5, (0.8, 0.9), 0.3, 1e-8)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
