"""Chunked scores and losses against plain autograd on whole logits."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from common.models.log_probabilities import ChunkedLoss, Targets, TokenLogProbs
from common.models.precision import rounded

ROWS, WIDTH, VOCABULARY = 23, 12, 40
FORBIDDEN = torch.tensor([0, 39])


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, generator=draw)
    weight = torch.randn(VOCABULARY, WIDTH, generator=draw)
    tokens = torch.randint(1, VOCABULARY - 1, (ROWS,), generator=draw)
    return hidden.requires_grad_(), weight.requires_grad_(), tokens


def plain_scores(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    logits = (hidden @ weight.T).index_fill(1, FORBIDDEN, -torch.inf)
    logps = logits.log_softmax(1)
    entropy = -(logps.exp() * logps).nan_to_num().sum(1)
    return logps.gather(1, tokens.unsqueeze(1)).squeeze(1), entropy


def bent(scores: Tensor) -> Tensor:
    """A loss whose slope differs from row to row."""
    return (scores.exp() + 0.1 * scores.square()).sum()


@pytest.mark.parametrize("chunk", [1, 5, ROWS, 1000])
@pytest.mark.parametrize("fused", [True, False])
def test_scores_loss_and_gradients_equal_plain_ones(chunk: int, fused: bool) -> None:
    hidden, weight, tokens = problem()
    targets = Targets.evenly(tokens, FORBIDDEN, chunk)
    expected, entropy = plain_scores(hidden, weight, tokens)
    expected_loss = bent(expected)
    wanted = torch.autograd.grad(3.0 * expected_loss, (hidden, weight))
    if fused:
        loss, scores, entropies = ChunkedLoss.apply(targets, lambda _, part: bent(part), hidden, weight)
        torch.testing.assert_close(entropies, entropy.detach(), atol=1e-5, rtol=1e-5)
        assert not scores.requires_grad
        assert not entropies.requires_grad
    else:
        scores = TokenLogProbs.apply(targets, hidden, weight)
        loss = bent(scores)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-5)
    for found, want in zip(torch.autograd.grad(3.0 * loss, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_bf16_rounds_the_operands_and_nothing_else_of_the_scores(fused: bool) -> None:
    hidden, weight, tokens = problem()
    expected, _ = plain_scores(rounded(hidden), rounded(weight), tokens)
    targets = Targets.evenly(tokens, FORBIDDEN, 5)
    with torch.autocast("cpu", torch.bfloat16):
        if fused:
            loss, scores, _ = ChunkedLoss.apply(targets, lambda _, part: bent(part), hidden, weight)
        else:
            scores = TokenLogProbs.apply(targets, hidden, weight)
            loss = bent(scores)
    tolerance = 1e-5 if not torch.ops.mkldnn._is_mkldnn_bf16_supported() else 5e-2
    torch.testing.assert_close(scores, expected, atol=tolerance, rtol=tolerance)
    wanted = torch.autograd.grad(bent(expected), (hidden, weight))
    for found, want in zip(torch.autograd.grad(loss, (hidden, weight)), wanted, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, want, atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("fused", [True, False])
def test_a_frozen_output_layer_gets_no_gradient(fused: bool) -> None:
    hidden, weight, tokens = problem()
    targets = Targets.evenly(tokens, FORBIDDEN, 5)
    expected = torch.autograd.grad(bent(plain_scores(hidden, weight, tokens)[0]), hidden)[0]
    frozen = weight.detach()
    if fused:
        loss = ChunkedLoss.apply(targets, lambda _, part: bent(part), hidden, frozen)[0]
    else:
        loss = bent(TokenLogProbs.apply(targets, hidden, frozen))
    torch.testing.assert_close(torch.autograd.grad(loss, hidden)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_no_rows_are_scored_without_complaint(fused: bool) -> None:
    hidden, weight, tokens = problem()
    score = (
        partial(ChunkedLoss.apply, Targets.evenly(tokens[:0], FORBIDDEN, 5), lambda _, part: bent(part))
        if fused
        else partial(TokenLogProbs.apply, Targets.evenly(tokens[:0], FORBIDDEN, 5))
    )
    found = score(hidden[:0], weight)
    loss = found[0] if fused else found.sum()
    gradients = torch.autograd.grad(loss, (hidden, weight))
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients)
