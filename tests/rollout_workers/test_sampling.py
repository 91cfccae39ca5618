from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rollout_workers.sampling import draw, nucleus_entropy, token_probabilities


def rows(count: int, vocabulary: int, std: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, vocabulary, generator=generator) * std).softmax(-1)


def nucleus_by_definition(row: Tensor, top_p: float) -> dict[int, float]:
    """The smallest set of most likely tokens with mass >= top_p, renormalized."""
    ranked = sorted(enumerate(row.double().tolist()), key=lambda pair: -pair[1])
    kept: dict[int, float] = {}
    for token, probability in ranked:
        kept[token] = probability
        if math.fsum(kept.values()) >= top_p:
            break
    mass = math.fsum(kept.values())
    return {token: probability / mass for token, probability in kept.items()}


def entropy_by_definition(row: Tensor, top_p: float) -> float:
    return -math.fsum(p * math.log(p) for p in nucleus_by_definition(row, top_p).values() if p > 0)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(("vocabulary", "std"), [(5, 1.0), (64, 1.0), (65, 0.1), (400, 3.0), (400, 0.01)])
def test_nucleus_entropy_equals_its_definition(vocabulary: int, std: float, top_p: float) -> None:
    probabilities = rows(16, vocabulary, std)
    expected = torch.tensor([entropy_by_definition(row, top_p) for row in probabilities])
    torch.testing.assert_close(nucleus_entropy(probabilities, top_p), expected, atol=1e-5, rtol=1e-5)


def test_narrow_and_wide_rows_mix_in_one_batch() -> None:
    probabilities = torch.cat([rows(8, 300, 4.0), rows(8, 300, 0.1)])[torch.arange(16).view(2, 8).T.reshape(-1)]
    covered = probabilities.topk(64).values.sum(-1) >= 0.95
    assert 0 < int(covered.sum()) < 16  # both paths run
    expected = torch.tensor([entropy_by_definition(row, 0.95) for row in probabilities])
    torch.testing.assert_close(nucleus_entropy(probabilities, 0.95), expected, atol=1e-5, rtol=1e-5)


def test_certain_row_has_no_entropy() -> None:
    probabilities = torch.tensor([[0.0, 1.0, 0.0], [0.02, 0.96, 0.02]])
    assert nucleus_entropy(probabilities, 0.95).tolist() == [0.0, 0.0]


def test_temperature_divides_logits_and_zero_leaves_them() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf]])
    for temperature, scale in ((0.0, 1.0), (1.0, 1.0), (0.5, 2.0), (2.0, 0.5)):
        ratio = token_probabilities(logits, temperature)[0]
        assert float(ratio[1] / ratio[0]) == pytest.approx(math.exp(scale), rel=1e-5)
        assert float(ratio[2]) == 0.0


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.6, 0.3])
def test_a_grid_of_uniforms_gives_every_token_its_exact_share(top_p: float) -> None:
    row = torch.tensor([0.1, 0.35, 0.05, 0.2, 0.3])
    n = 2000
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens, logprobs = draw(row.expand(n, -1), top_p, uniforms, greedy=False)
    expected = nucleus_by_definition(row, top_p)
    counts = torch.bincount(tokens, minlength=5).tolist()
    for token in range(5):
        assert abs(counts[token] - n * expected.get(token, 0.0)) <= 1
    chi_square = sum((counts[token] - n * p) ** 2 / (n * p) for token, p in expected.items())
    assert chi_square < 0.1
    for token, logprob in zip(tokens.tolist(), logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(math.log(expected[token]), abs=1e-5)


def test_larger_uniforms_draw_less_likely_tokens() -> None:
    row = rows(1, 30, 1.0)
    uniforms = torch.linspace(0, 0.999, 50, dtype=torch.float64)
    tokens, _ = draw(row.expand(50, -1), 0.95, uniforms, greedy=False)
    drawn = row[0, tokens]
    assert bool((drawn[1:] <= drawn[:-1]).all())


@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2**-53, 1.0])  # 1.0: as if the product had been rounded up
def test_extreme_uniforms_stay_in_the_nucleus(uniform: float, top_p: float) -> None:
    probabilities = rows(200, 90, 2.0)
    probabilities[:, 7] = 0.0  # as the mask token
    probabilities /= probabilities.sum(-1, keepdim=True)
    uniforms = torch.full((200,), uniform, dtype=torch.float64)
    tokens, logprobs = draw(probabilities, top_p, uniforms, greedy=False)
    assert bool(logprobs.isfinite().all())
    for row, token in zip(probabilities, tokens.tolist(), strict=True):
        inside = list(nucleus_by_definition(row, min(top_p, 1 - 1e-6)))
        assert token == inside[0] if uniform == 0 else row[token] <= row[inside[-1]] and row[token] > 0
        if top_p < 1:
            assert token in inside


def test_greedy_takes_the_most_likely_token_whatever_the_uniform() -> None:
    probabilities = rows(20, 90, 1.0)
    tokens, logprobs = draw(probabilities, 0.95, torch.full((20,), 0.999), greedy=True)
    assert torch.equal(tokens, probabilities.argmax(-1))
    assert logprobs.tolist() == [0.0] * 20


def test_a_row_draws_the_same_in_any_batch() -> None:
    probabilities = rows(30, 200, 1.0)
    uniforms = torch.linspace(0, 0.99, 30, dtype=torch.float64)
    tokens, logprobs = draw(probabilities, 0.95, uniforms, greedy=False)
    for i in range(30):
        token, logprob = draw(probabilities[i : i + 1], 0.95, uniforms[i : i + 1], greedy=False)
        assert (int(token), float(logprob)) == (int(tokens[i]), float(logprobs[i]))
