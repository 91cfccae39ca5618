from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from learner.batch import TokenRows
from learner.objectives.grpo import TokenGrpo
from learner.objectives.objective import Sums
from learner.objectives.ratios import Clip, KlEstimator, kl_estimate
from tests.learner.learner_tools import make_samples


def tokens_of(count: int, advantage: float, **estimates: Tensor) -> TokenRows:
    """``count`` tokens of one sample, each measured in one row of weight 1."""
    return TokenRows(
        samples=make_samples(1),
        advantages=torch.tensor([advantage]),
        weights=torch.ones(count),
        token=torch.arange(count),
        owner=torch.zeros(count, dtype=torch.long),
        position=torch.arange(count),
        measured=torch.tensor([float(count)]),
        present=torch.tensor([0]),
        valid=torch.tensor([float(count)]),
        lengths=torch.tensor([float(count)]),
        groups=torch.tensor([0]),
        **estimates,
    )


def of_ratios(ratios: list[float], advantage: float, clip: Clip, importance: Tensor | None = None) -> Sums:
    tokens = tokens_of(len(ratios), advantage, old=torch.zeros(len(ratios)))
    if importance is not None:
        tokens = tokens_of(len(ratios), advantage, old=torch.zeros(len(ratios)), importance=importance)
    return TokenGrpo(clip, 0.0).sums(tokens, torch.tensor(ratios).log())


RATIOS = [1.0, 1.4, 1.6, 0.4]


@pytest.mark.parametrize(
    ("clip", "advantage", "loss", "low", "high"),
    [
        (Clip(0.5, 0.5), 2.0, -2.0 * (1.0 + 1.4 + 1.5 + 0.4), 0, 1),
        (Clip(0.5, 0.5), -2.0, 2.0 * (1.0 + 1.4 + 1.6 + 0.5), 1, 0),
        (Clip(0.5, 0.3), 2.0, -2.0 * (1.0 + 1.3 + 1.3 + 0.4), 0, 2),
        (Clip(0.7, 0.3), -2.0, 2.0 * (1.0 + 1.4 + 1.6 + 0.4), 0, 0),
        (Clip(0.5, 0.5), 0.0, 0.0, 0, 0),
    ],
)
def test_surrogate_and_clip_counts(clip: Clip, advantage: float, loss: float, low: int, high: int) -> None:
    sums = of_ratios(RATIOS, advantage, clip)
    assert float(sums.loss) == pytest.approx(loss)
    assert int(sums.metrics["policy/clip_low_fraction"]) == low
    assert int(sums.metrics["policy/clip_high_fraction"]) == high
    assert int(sums.metrics["policy/clip_fraction"]) == low + high
    assert float(sums.metrics["policy/ratio_mean"]) == pytest.approx(4.4)


def test_a_clipped_token_has_no_gradient() -> None:
    scores = torch.tensor(RATIOS).log().requires_grad_()
    sums = TokenGrpo(Clip(0.5, 0.5), 0.0).sums(tokens_of(4, 2.0, old=torch.zeros(4)), scores)
    (gradient,) = torch.autograd.grad(sums.loss, scores)
    assert gradient.tolist() == pytest.approx([-2.0, -2.8, 0.0, -0.8])


def test_importance_weighs_the_surrogate_and_not_the_kl() -> None:
    weights = torch.tensor([0.5, 1.0, 2.0, 0.0])
    sums = of_ratios(RATIOS, 2.0, Clip(0.5, 0.5), weights)
    assert float(sums.loss) == pytest.approx(-2.0 * (0.5 * 1.0 + 1.4 + 2.0 * 1.5))
    tokens = tokens_of(4, 0.0, old=torch.zeros(4), reference=torch.ones(4), importance=weights)
    loss = TokenGrpo(Clip(0.5, 0.5), 0.25).sums(tokens, torch.zeros(4)).loss
    assert float(loss) == pytest.approx(0.25 * 4 * (math.e - 2))


@pytest.mark.parametrize(
    ("estimator", "value"), [("k3", lambda d: math.exp(d) - d - 1), ("k2", lambda d: d * d / 2)]
)
def test_kl_of_each_token(estimator: KlEstimator, value: object) -> None:
    new, reference = torch.tensor([-1.0, -3.0, -2.0]), torch.tensor([-2.0, -2.0, -2.0])
    found = kl_estimate(new, reference, estimator)
    assert found.tolist() == pytest.approx([value(-1.0), value(1.0), 0.0])  # type: ignore[operator]
    assert kl_estimate(new, None, estimator).tolist() == [0.0, 0.0, 0.0]


def test_kl_pulls_towards_the_reference() -> None:
    scores = torch.tensor([-1.0, -3.0], requires_grad=True)
    tokens = tokens_of(2, 0.0, old=scores.detach(), reference=torch.tensor([-2.0, -2.0]))
    (gradient,) = torch.autograd.grad(TokenGrpo(Clip(0.5, 0.5), 1.0).sums(tokens, scores).loss, scores)
    assert gradient[0] > 0 > gradient[1]
