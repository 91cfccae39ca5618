"""Objectives of whole completions, each against its formula written out with plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from learner.batch import TokenRows
from learner.objectives.ratios import Clip
from learner.objectives.sequence import SequenceGrpo
from learner.objectives.spg import SandwichedGradient
from learner.objectives.vrpo import PreferenceLoss
from learner.objectives.wd1 import WeightedLikelihood
from learner.samples import TrainingSample
from tests.learner.learner_tools import make_samples

LENGTHS = (2, 3, 1, 4)
COUNT = sum(LENGTHS)


def samples_of(advantages: Sequence[float]) -> list[TrainingSample]:
    made = zip(make_samples(4), LENGTHS, advantages, strict=True)
    return [replace(s, group=0, valid_tokens=length, advantage=a) for s, length, a in made]


def scored(advantages: Sequence[float], rows_per_token: int = 1, **estimates: Tensor) -> TokenRows:
    """Four samples of :data:`LENGTHS` tokens, each token measured in so many rows of weights 0.5, 1, 1.5, ..."""
    samples = samples_of(advantages)
    return TokenRows(
        samples=samples,
        advantages=torch.tensor([s.advantage for s in samples]),
        weights=torch.tensor([0.5 * (1 + i) for i in range(rows_per_token)] * COUNT),
        token=torch.arange(COUNT).repeat_interleave(rows_per_token),
        owner=torch.tensor([i for i, length in enumerate(LENGTHS) for _ in range(length)]),
        position=torch.tensor([k for length in LENGTHS for k in range(length)]),
        measured=torch.tensor(LENGTHS, dtype=torch.float32),
        present=torch.arange(4),
        valid=torch.tensor(LENGTHS, dtype=torch.float32),
        lengths=torch.tensor([len(s.completion_ids) for s in samples], dtype=torch.float32),
        groups=torch.zeros(4, dtype=torch.long),
        **estimates,
    )


def values(seed: int, count: int = COUNT) -> Tensor:
    return -torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float32) * 3


def per_sample(tokens: Tensor) -> list[list[float]]:
    return [part.tolist() for part in tokens.split(LENGTHS)]  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kl", ["k2", "k3"])
def test_sequence_ratio_clip_and_kl(kl: str) -> None:
    advantages = [1.0, -1.0, 0.5, -2.0]
    new, old, reference = values(0), values(1), values(2)
    tokens = scored(advantages, old=old, reference=reference)
    objective = SequenceGrpo(Clip(0.1, 0.2), kl_weight=0.3, kl=kl)  # type: ignore[arg-type]
    sums = objective.sums(tokens, new / 0.5)
    loss = ratios = divergence = 0.0
    rows = zip(per_sample(new), per_sample(old), per_sample(reference), advantages, strict=True)
    for mine, before, anchor, advantage in rows:
        ratio = math.exp((sum(mine) - sum(before)) / len(mine))
        distance = sum(anchor) - sum(mine)
        term = (distance**2 / 2 if kl == "k2" else math.exp(distance) - distance - 1) / len(mine)
        loss += 0.3 * term - min(ratio * advantage, min(max(ratio, 0.9), 1.2) * advantage)
        ratios += ratio
        divergence += term
    assert float(sums.loss) == pytest.approx(loss, rel=1e-5)
    assert float(sums.metrics["policy/ratio_mean"]) == pytest.approx(ratios, rel=1e-5)
    assert float(sums.metrics["policy/kl"]) == pytest.approx(divergence, rel=1e-5)
    assert 0 < int(sums.metrics["policy/clip_fraction"]) < 4
    assert objective.count([[s] for s in tokens.samples]) == 4


def test_a_sample_of_which_nothing_was_masked_has_no_term() -> None:
    tokens = scored([1.0, 1.0, 1.0, 1.0])
    without = replace(
        tokens,
        weights=tokens.weights[:2],
        token=tokens.token[:2],
        owner=tokens.owner[:2],
        position=tokens.position[:2],
        measured=torch.tensor([2.0, 0.0, 0.0, 0.0]),
        present=torch.tensor([0]),
    )
    sums = SequenceGrpo(Clip(0.1, 0.1), 0.0).sums(without, values(0, 2))
    assert float(sums.loss) == -1.0
    assert float(sums.metrics["policy/ratio_mean"]) == 1.0
    assert sums.units == 1


def test_wd1_weighs_log_likelihoods_by_two_softmaxes() -> None:
    advantages = [1.0, -1.0, 0.5, -0.5]
    objective = WeightedLikelihood()
    other_group = [replace(s, group=7) for s in samples_of([2.0, -2.0, 0.0, 0.0])]
    linked = objective.link([*samples_of(advantages), *other_group])
    assert objective.count(linked) == 2
    plus = [math.exp(a) / sum(map(math.exp, advantages)) for a in advantages]
    minus = [math.exp(-a) / sum(math.exp(-b) for b in advantages) for a in advantages]
    weights = [sample.advantage for (sample,) in linked[:4]]
    assert weights == pytest.approx([p - m for p, m in zip(plus, minus, strict=True)])
    scores = values(0)
    loss = float(objective.sums(scored(weights), scores / 0.5).loss)
    expected = -sum(w * sum(row) for w, row in zip(weights, per_sample(scores), strict=True))
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_spg_raises_the_lower_bound_and_lowers_the_mixed_one(mix: float) -> None:
    advantages, beta = [1.0, -1.0, 0.5, -2.0], 1.5
    tokens = scored(advantages, rows_per_token=2)
    scores = values(3, 2 * COUNT)
    sums = SandwichedGradient(beta, mix).sums(tokens, scores)
    loss, token = 0.0, 0
    for advantage, length in zip(advantages, LENGTHS, strict=True):
        for _ in range(length):
            one, two = scores[2 * token].item(), scores[2 * token + 1].item()
            lower = 0.5 * one + 1.0 * two
            upper = math.log(0.5 * math.exp(beta * one) + 1.0 * math.exp(beta * two)) / beta
            value = lower if advantage >= 0 else mix * upper + (1 - mix) * lower
            loss -= advantage * value
            token += 1
    assert float(sums.loss) == pytest.approx(loss, rel=1e-5)


def test_spg_averages_the_upper_bound_over_what_is_measured_and_counts_tokens() -> None:
    samples = [replace(s, valid_tokens=6) for s in samples_of([-1.0] * 4)]
    tokens = replace(scored([-1.0] * 4), samples=samples, valid=torch.full((4,), 6.0))
    scores = values(3)
    loss = SandwichedGradient(1.5, 1.0).sums(tokens, scores).loss
    means = [sum(math.log(0.5) / 1.5 + score for score in row) / len(row) for row in per_sample(scores)]
    assert float(loss) == pytest.approx(6 * sum(means), rel=1e-5)
    assert SandwichedGradient(1.5, 1.0).count([[sample] for sample in samples]) == 24


def test_spg_is_finite_where_a_probability_vanishes() -> None:
    scores = torch.full((2 * COUNT,), -400.0, requires_grad=True)
    loss = SandwichedGradient(2.0, 1.0).sums(scored([-1.0] * 4, rows_per_token=2), scores).loss
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_vrpo_pairs_best_with_worst_while_they_differ() -> None:
    rewards = [0.5, 2.0, 0.5, 0.0]
    samples = [replace(s, reward=r) for s, r in zip(samples_of([0.0] * 4), rewards, strict=True)]
    objective = PreferenceLoss(0.5)
    pairs = objective.link(samples)
    assert [[s.reward for s in pair] for pair in pairs] == [[2.0, 0.0]]
    even = [replace(s, reward=r) for s, r in zip(samples, [3.0, 1.0, 2.0, 0.0], strict=True)]
    assert [[s.reward for s in pair] for pair in objective.link(even)] == [[3.0, 0.0], [2.0, 1.0]]
    assert objective.count(objective.link(even)) == 2


def test_vrpo_is_a_logistic_loss_of_gains_over_the_reference() -> None:
    new, reference = values(0), values(1)
    sums = PreferenceLoss(0.5).sums(scored([0.0] * 4, reference=reference), new / 0.5)
    gains = [sum(a) - sum(b) for a, b in zip(per_sample(new), per_sample(reference), strict=True)]
    margins = [0.5 * (gains[0] - gains[1]), 0.5 * (gains[2] - gains[3])]
    assert float(sums.loss) == pytest.approx(sum(math.log(1 + math.exp(-m)) for m in margins), rel=1e-5)
    assert float(sums.metrics["policy/preference_margin"]) == pytest.approx(sum(margins), rel=1e-5)
    assert int(sums.metrics["policy/preference_accuracy"]) == sum(m > 0 for m in margins)
