"""BGPO, GDSD and StableDRL against the plain loops of ``naive_draws.py``, and where their clips act."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from learner.batch import PackedViews, pack_views
from learner.objectives.draws import DrawByDraw
from learner.objectives.registry import make_objective
from learner.partition import Piece, units
from learner.policy import Policy
from learner.samples import TrainingSample
from tests.learner import naive_presets
from tests.learner.learner_tools import LENGTH, MASK_ID, make_samples, tiny_policy
from tests.learner.naive_presets import Update, terms_of
from tests.learner.test_loss import gradients, nearby

SEED, ITERATION = 3, 1
CPU = torch.device("cpu")
ELBO = {"kind": "elbo", "mask_pairs": 2}
SYSTEMATIC = {"kind": "elbo_systematic", "subsets": 4}
BLOCKS = {"kind": "elbo_blocks", "block_length": 2, "prompt_mask": 0.3}


def config_of(estimator: Mapping[str, Any], **objective: Any) -> LearnerConfig:
    return LearnerConfig.model_validate({"estimator": estimator, "objective": objective})


def packed(pieces: list[Piece], config: LearnerConfig) -> PackedViews:
    estimator = make_estimator(config.estimator, config.inner_iterations)
    views = [estimator.views(piece.sample.key(SEED, ITERATION), piece.sample) for piece in pieces]
    return pack_views(pieces, views, MASK_ID, CPU)


def loss_of(
    samples: list[TrainingSample], new: Policy, old: Policy, reference: Policy, config: LearnerConfig
) -> tuple[Tensor, dict[str, float]]:
    """The mean loss, one piece of the partition at a time, and the means of the metrics."""
    objective = make_objective(config.objective)
    estimator = make_estimator(config.estimator, config.inner_iterations)
    linked = objective.link(samples)
    parts = units(linked, estimator, SEED, objective.by_token, isinstance(objective, DrawByDraw))
    total, metrics, counted = torch.zeros(()), dict.fromkeys(objective.metric_names, 0.0), 0
    for part in parts:
        batch = packed(list(part), config)
        with torch.no_grad():
            before = batch.tokens.estimates(old.log_probs(batch))
            anchor = batch.tokens.estimates(reference.log_probs(batch))
        batch = batch.with_estimates(old=before, reference=anchor)
        sums = objective.sums(batch.tokens, new.log_probs(batch))
        total = total + sums.loss
        metrics = {name: metrics[name] + float(sums.metrics[name]) for name in metrics}
        counted += sums.units
    return total / objective.count(linked), {name: value / counted for name, value in metrics.items()}


CASES = [
    ("bgpo", config_of(SYSTEMATIC, kind="bgpo", clip=0.05, dual_clip=1.1)),
    ("bgpo", config_of(ELBO, kind="bgpo", clip=0.05, clip_high=0.1, dual_clip=1.2)),
    ("gdsd", config_of(ELBO, kind="gdsd", psi=0.5, clip=0.5, kl_weight=0.2)),
    ("gdsd", config_of(SYSTEMATIC, kind="gdsd", psi=2.0, clip=0.9, kl_weight=0.0)),
    ("stable_drl", config_of(ELBO, kind="stable_drl", beta=1.5, mix=0.5, ratio_cap=1.05)),
    ("stable_drl", config_of(BLOCKS, kind="stable_drl", beta=2.0, mix=1.0, ratio_cap=5.0)),
]


@pytest.mark.parametrize(("name", "config"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_loss_and_gradient_equal_the_naive_formula(name: str, config: LearnerConfig) -> None:
    samples = make_samples(7)  # a group of four, and one of three
    assert {1, LENGTH} <= {sample.valid_tokens for sample in samples}
    new = tiny_policy()
    old, reference = nearby(new, 1, 0.02), nearby(new, 2, 0.03)
    loss, metrics = loss_of(samples, new, old, reference, config)
    assert 0 <= metrics["policy/clip_fraction"] < 1
    torch.autograd.backward(loss)
    found = gradients(new)

    new.zero_grad()
    update = Update((new.model, old.model, reference.model), config, SEED, ITERATION)
    total, count = naive_presets.loss_of(update, terms_of(samples, name), defaultdict(list))
    naive = total / count
    torch.autograd.backward(naive)
    assert float(loss.detach()) == pytest.approx(float(naive.detach()), rel=1e-5, abs=1e-6)
    expected = gradients(new)
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-2
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, atol=1e-5, rtol=1e-5, msg=parameter)


def one_draw(change: float, advantage: float, **objective: Any) -> tuple[float, float]:
    """The loss of a completion whose bound changed by :data:`LENGTH` times ``change``, and its steepest slope."""
    (sample,) = make_samples(1)
    config = config_of({"kind": "elbo"}, **objective)
    (piece,) = (Piece(sample, (0, 1)),)
    batch = packed([piece], config)
    tokens = batch.tokens
    new = torch.zeros(batch.rows.numel(), requires_grad=True)
    old = torch.full((tokens.owner.numel(),), -change * LENGTH / tokens.owner.numel())
    batch = batch.with_estimates(old=old)
    batch.tokens.advantages.fill_(advantage)
    sums = make_objective(config.objective).sums(batch.tokens, new)
    (slope,) = torch.autograd.grad(sums.loss, new)
    return float(sums.loss.detach()) / tokens.owner.numel(), float(slope.abs().max())


@pytest.mark.parametrize(
    ("change", "advantage", "loss", "learns"),
    [
        (0.1, 2.0, -2.0 * 1.1, True),  # linear where the advantage is positive,
        (0.3, 2.0, -2.0 * 1.2, False),  # and clipped from above
        (-5.0, 2.0, 2.0 * 4.0, True),  # a ratio below 0 is a ratio
        (0.1, -2.0, 2.0 * math.exp(0.1), True),  # exponential where it is negative,
        (-0.5, -2.0, 2.0 * 0.8, False),  # clipped from below,
        (2.0, -2.0, 2.0 * 3.0, False),  # and no more than the dual clip
    ],
)
def test_bgpo_is_linear_or_exponential_and_clipped(
    change: float, advantage: float, loss: float, learns: bool
) -> None:
    found, slope = one_draw(change, advantage, kind="bgpo", clip=0.2, dual_clip=3.0)
    assert found == pytest.approx(loss, rel=1e-5)
    assert (slope > 0) is learns


def test_gdsd_stops_where_the_sum_over_tokens_left_the_clip() -> None:
    settings = {"kind": "gdsd", "psi": 1.0, "clip": 0.5, "kl_weight": 0.0}
    for ratio, learns in ((1.4, True), (1.6, False), (0.6, True), (0.4, False)):
        _, slope = one_draw(math.log(ratio) / LENGTH, 1.0, **settings)
        assert (slope > 0) is learns


def test_the_first_update_of_stable_drl_weighs_all_samples_of_a_group_alike() -> None:
    config, spg = config_of(ELBO, kind="stable_drl"), config_of(ELBO, kind="spg")
    samples, policy = [replace(sample, valid_tokens=5) for sample in make_samples(4)], tiny_policy()
    loss, metrics = loss_of(samples, policy, policy, policy, config)
    expected, _ = loss_of(samples, policy, policy, policy, spg)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert metrics["policy/ratio_mean"] == pytest.approx(1.0)


def test_no_ratio_of_stable_drl_counts_more_than_the_cap_whatever_the_advantage() -> None:
    """Ratios that differ, all of them above the cap, weigh the samples of a group alike, of either sign."""
    config, samples, policy = config_of(ELBO, kind="stable_drl", ratio_cap=2.0), make_samples(4), tiny_policy()
    assert {sample.advantage > 0 for sample in samples} == {True, False}
    batch = packed([Piece(sample, (0, 1, 2, 3)) for sample in samples], config)
    log_probs = policy.log_probs(batch).detach()
    lower, objective = batch.tokens.estimates(log_probs), make_objective(config.objective)
    alike = objective.sums(batch.tokens, log_probs)
    capped = objective.sums(batch.with_estimates(old=lower - 1.0 - torch.arange(len(lower))).tokens, log_probs)
    assert float(capped.loss) == pytest.approx(float(alike.loss), rel=1e-6)
    assert float(capped.metrics["policy/clip_fraction"]) == len(samples)
    assert float(alike.metrics["policy/clip_fraction"]) == 0
