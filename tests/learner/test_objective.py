from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learner.objective import LossSums, grpo_loss

ALL_VALID = torch.ones(1, 4, dtype=torch.bool)


def one_row(log_ratios: list[float], advantage: float, clip: float = 0.5, valid: Tensor = ALL_VALID) -> LossSums:
    new = torch.tensor([log_ratios], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    return grpo_loss(new, torch.zeros_like(new), None, advantages, valid, clip, 0.0)


# Ratios 1, 1.4, 1.6, 0.4 with epsilon 0.5: only 1.6 can be clipped from above, only 0.4 from below.
LOG_RATIOS = torch.tensor([1.0, 1.4, 1.6, 0.4]).double().log().tolist()


@pytest.mark.parametrize(
    ("advantage", "loss", "clipped"),
    [(2.0, -2.0 * (1.0 + 1.4 + 1.5 + 0.4), 1), (-2.0, 2.0 * (1.0 + 1.4 + 1.6 + 0.5), 1), (0.0, 0.0, 0)],
)
def test_surrogate_and_clip_count(advantage: float, loss: float, clipped: int) -> None:
    sums = one_row(LOG_RATIOS, advantage)
    assert float(sums.loss) == pytest.approx(loss)
    assert int(sums.clipped) == clipped
    assert float(sums.ratio) == pytest.approx(4.4)


def test_a_clipped_token_has_no_gradient() -> None:
    new = torch.tensor([LOG_RATIOS], requires_grad=True)
    sums = grpo_loss(new, torch.zeros_like(new), None, torch.tensor([2.0]), ALL_VALID, 0.5, 0.0)
    (gradient,) = torch.autograd.grad(sums.loss, new)
    assert gradient[0].tolist() == pytest.approx([-2.0, -2.8, 0.0, -0.8])


def test_invalid_tokens_count_in_nothing_even_when_not_finite() -> None:
    valid = torch.tensor([[True, True, False, False]])
    sums = one_row([*LOG_RATIOS[:2], 800.0, float("inf")], 2.0, valid=valid)
    assert float(sums.loss) == pytest.approx(-4.8)
    assert float(sums.ratio) == pytest.approx(2.4)
    assert int(sums.clipped) == 0


def test_kl_is_k3_never_negative_and_zero_for_equal_policies() -> None:
    generator = torch.Generator().manual_seed(0)
    new = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    reference = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    everything = torch.ones(5, 4, dtype=torch.bool)
    zeros = torch.zeros(5, dtype=torch.float64)
    sums = grpo_loss(new, new, reference, zeros, everything, 0.5, 0.25)
    expected = sum(float(d.exp() - d - 1) for d in (reference - new).flatten())
    assert float(sums.kl) == pytest.approx(expected)
    assert float(sums.loss) == pytest.approx(0.25 * expected)
    for i in range(5):
        for k in range(4):
            only = torch.zeros(5, 4, dtype=torch.bool)
            only[i, k] = True
            assert float(grpo_loss(new, new, reference, zeros, only, 0.5, 1.0).kl) >= 0
    assert float(grpo_loss(new, new, new, zeros, everything, 0.5, 1.0).kl) == 0


def test_kl_pulls_towards_the_reference() -> None:
    new = torch.tensor([[-1.0, -3.0]], requires_grad=True)
    reference = torch.tensor([[-2.0, -2.0]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    sums = grpo_loss(new, new.detach(), reference, torch.zeros(1), valid, 0.5, 1.0)
    (gradient,) = torch.autograd.grad(sums.loss, new)
    assert gradient[0, 0] > 0 > gradient[0, 1]
