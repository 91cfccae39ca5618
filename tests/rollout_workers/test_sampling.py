from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from common.records import Sampler
from orchestrator.commands.doctor import machine
from rollout_workers.kernels import Kernels, exponentials
from rollout_workers.nucleus import LARGEST, among_largest, by_sorting, reached
from rollout_workers.sampling import Draws, TokenSampler
from rollout_workers.vocabulary import Vocabulary
from tests.deploy.tools import missing

EXACT = torch.float64


@pytest.fixture(scope="module")
def compiled() -> Kernels:
    """Compiled kernels, or no test: those that serve without a compiler would only be the plain ones again.

    Whatever torch.compile fails of, the kernels are the plain ones. Only a missing compiler is a reason to skip.
    """
    kernels = Kernels.choose(Vocabulary.whole(8192), torch.device("cpu"))
    if not kernels.compiled:
        found = machine.compiler()
        if found.status != "ok":
            missing(f"torch.compile needs a C++ compiler with Python's headers; here: {found.detail}")
        pytest.fail(f"torch.compile failed though there is {found.detail}; the log of this fixture says of what")
    return kernels


@pytest.fixture(params=["plain", "compiled"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return Kernels() if request.param == "plain" else request.getfixturevalue("compiled")


@pytest.fixture(params=["plain", "searching", "compiled"])
def finders(request: pytest.FixtureRequest) -> Kernels:
    """Kernels of every way to find a nucleus."""
    if request.param == "searching":
        return Kernels(searches=True)
    return Kernels() if request.param == "plain" else request.getfixturevalue("compiled")


def sampler(vocabulary: int, kernels: Kernels | None = None, **fields: Any) -> TokenSampler:
    defaults = {"temperature": 1.0, "top_p": 1.0, "denoising_steps": 1, "completion_length": 1}
    setting = Sampler.model_validate(defaults | fields)
    return TokenSampler(setting, kernels or Kernels(), Vocabulary.whole(vocabulary))


def entropies(tokens: TokenSampler, logits: Tensor) -> Tensor:
    return tokens.entropies(tokens.filtered(logits))


def margins(tokens: TokenSampler, logits: Tensor) -> Tensor:
    return tokens.margins(tokens.filtered(logits))


def nucleus(kernels: Kernels, weights: Tensor, top_p: float) -> Tensor:
    return kernels.nucleus(weights, weights.sum(-1), top_p, Vocabulary.whole(weights.shape[-1])).floor


def rows(count: int, vocabulary: int, std: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, vocabulary, generator=generator) * std


def kept_by_definition(logits: Tensor, top_p: float, temperature: float = 1.0, top_k: int = 0) -> dict[int, float]:
    """The smallest set of most likely tokens with mass >= top_p, at most top_k of them, renormalized."""
    ranked = (logits.to(EXACT) / temperature).softmax(-1).sort(descending=True, stable=True)
    size = int((ranked.values.cumsum(0) < top_p).sum()) + 1
    kept = ranked.values[: min(size, top_k or size)]
    return dict(zip(ranked.indices.tolist(), (kept / kept.sum()).tolist(), strict=False))


def entropy_by_definition(logits: Tensor, top_p: float, temperature: float = 1.0) -> float:
    return -math.fsum(p * math.log(p) for p in kept_by_definition(logits, top_p, temperature).values() if p > 0)


@pytest.mark.parametrize(("vocabulary", "std"), [(5, 1.0), (64, 1.0), (65, 0.1), (400, 3.0), (400, 0.01)])
def test_entropy_equals_its_definition(finders: Kernels, vocabulary: int, std: float) -> None:
    logits = rows(16, vocabulary, std)
    for top_p in (0.05, 0.5, 0.95, 1.0):
        expected = torch.tensor([entropy_by_definition(row, top_p, 1.2) for row in logits])
        actual = entropies(sampler(logits.shape[1], finders, top_p=top_p, temperature=1.2), logits)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("std", "top_p"), [(0.02, 0.5), (1.0, 0.999), (3.0, 0.95), (10.0, 0.95)])
def test_entropy_over_a_large_vocabulary(finders: Kernels, std: float, top_p: float) -> None:
    """Within 1e-3 of the sorted definition, from nearly uniform rows to nearly certain ones."""
    logits = rows(8, 32_000, std)
    logits[:, 5] = -torch.inf
    expected = torch.tensor([entropy_by_definition(row, top_p, 1.2) for row in logits])
    actual = entropies(sampler(logits.shape[1], finders, top_p=top_p, temperature=1.2), logits)
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("std", "top_p"), [(0.02, 0.3), (3.0, 0.95), (10.0, 0.95)])
def test_searched_nucleus_is_the_sorted_one(std: float, top_p: float) -> None:
    """But for a token at the edge, where the sums of fp32 disagree in their last bits."""
    weights, _ = exponentials(rows(32, 20_000, std), 1.2)
    searched = (weights >= nucleus(Kernels(searches=True), weights, top_p).unsqueeze(-1)).sum(-1)
    by_sorting = (weights >= nucleus(Kernels(), weights, top_p).unsqueeze(-1)).sum(-1)
    assert int((searched - by_sorting).abs().max()) <= 2
    assert int(searched.min()) >= 1


def floors_by_definition(weights: Tensor, top_p: float) -> Tensor:
    """The smallest weight [n] of each row's nucleus, from rows that are sorted to the end."""
    needed = top_p * weights.sum(-1)
    falling = weights.sort(descending=True).values
    size = ((falling.cumsum(-1) - falling < needed.unsqueeze(-1)) & (falling > 0)).sum(-1)
    return falling.gather(-1, size.unsqueeze(-1) - 1).squeeze(-1)


def uneven_rows() -> Tensor:
    """Weights whose nuclei at 0.95 are of one token to nearly all; some just end among the largest."""
    table = torch.cat([rows(6, 17_003, std, seed) for seed, std in enumerate((0.02, 1.0, 1.8, 2.6, 6.0, 40.0))])
    weights, _ = exponentials(table, 1.2)
    steps = torch.zeros(3, 17_003)
    for row, equal in enumerate((LARGEST - 1, LARGEST, LARGEST + 1)):  # they tie where the largest end
        steps[row, :equal] = 1.0
        steps[row, equal:] = 1e-3 * torch.rand(17_003 - equal, generator=torch.Generator().manual_seed(row))
    steps[:, -7] = 0.0
    return torch.cat([weights, steps])


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.95, 0.999])
def test_a_nucleus_among_the_largest_weights_is_that_of_all(top_p: float) -> None:
    """To the last bit, and whatever rows are beside it."""
    weights = uneven_rows()
    expected = floors_by_definition(weights, top_p)
    needed = top_p * weights.sum(-1)
    floor, largest = among_largest(weights, needed, lambda rest: by_sorting(weights[rest], needed[rest]))
    assert torch.equal(floor, expected)
    assert largest is not None
    inside = reached(floor, largest)
    assert 0 < int(inside.sum()) < len(inside), "rows of both kinds"
    sizes = (weights >= floor.unsqueeze(-1)).sum(-1)
    assert torch.equal((largest >= floor.unsqueeze(-1)).sum(-1)[inside], sizes[inside])
    for row in range(len(weights)):
        alone = nucleus(Kernels(), weights[row : row + 1], top_p)
        assert torch.equal(alone, expected[row : row + 1])


def test_entropies_from_the_largest_weights_are_those_of_all(finders: Kernels) -> None:
    logits = uneven_rows().log()
    tokens = sampler(17_003, finders, top_p=0.95)
    filtered = tokens.filtered(logits)
    expected = tokens.entropies(filtered._replace(largest=None))
    torch.testing.assert_close(tokens.entropies(filtered), expected, atol=2e-6, rtol=2e-6)
    for row in range(0, len(logits), 8):
        alone = entropies(tokens, logits[row : row + 1])
        torch.testing.assert_close(alone, expected[row : row + 1], atol=2e-6, rtol=2e-6)


def test_tokens_that_tie_at_the_edge_of_the_nucleus_are_all_in(finders: Kernels) -> None:
    weights = torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.25, 0.0]])
    assert nucleus(finders, weights, 0.5).tolist() == [0.5]
    assert nucleus(finders, weights, 0.999).tolist() == [0.25]
    assert nucleus(finders, weights, 0.1).tolist() == [1.0]


@pytest.mark.parametrize(("top_p", "smallest"), [(0.5, 1.0), (0.75, 0.5), (0.875, 0.25)])
def test_the_nucleus_ends_with_the_token_that_reaches_top_p_exactly(
    finders: Kernels, top_p: float, smallest: float
) -> None:
    weights = torch.tensor([[1.0, 0.5, 0.25, 0.125, 0.125]])
    assert nucleus(finders, weights, top_p).tolist() == [smallest]


def test_narrow_and_wide_rows_mix_in_one_batch(finders: Kernels) -> None:
    logits = torch.cat([rows(8, 300, 4.0), rows(8, 300, 0.1)])[torch.arange(16).view(2, 8).T.reshape(-1)]
    covered = logits.softmax(-1).topk(64).values.sum(-1) >= 0.95
    assert 0 < int(covered.sum()) < 16  # both ways of sorting run
    expected = torch.tensor([entropy_by_definition(row, 0.95) for row in logits])
    torch.testing.assert_close(
        entropies(sampler(300, finders, top_p=0.95), logits), expected, atol=1e-5, rtol=1e-5
    )


def test_certain_row_has_no_entropy_and_full_margin(kernels: Kernels) -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.02, 0.96, 0.02]]).log()
    certain = sampler(3, kernels, top_p=0.95)
    assert entropies(certain, logits).tolist() == [0.0, 0.0]
    assert margins(certain, logits).tolist() == [1.0, 1.0]


def test_margin_equals_its_definition(kernels: Kernels) -> None:
    logits = rows(16, 40, 1.5)
    for top_p, top_k in ((1.0, 0), (0.7, 0), (1.0, 3), (0.95, 5), (0.2, 5)):
        expected = []
        for row in logits:
            kept = sorted(kept_by_definition(row, top_p, 1.2, top_k).values(), reverse=True)
            expected.append(kept[0] - (kept[1] if len(kept) > 1 else 0.0))
        actual = margins(sampler(40, kernels, top_p=top_p, top_k=top_k, temperature=1.2), logits)
        torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def draw(logits: Tensor, uniforms: Tensor, kernels: Kernels | None = None, **fields: Any) -> Draws:
    return sampler(logits.shape[1], kernels, **fields).draw(logits, uniforms)


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.6, 0), (1.0, 2), (0.9, 1)])
def test_a_grid_of_uniforms_gives_every_token_its_exact_share(kernels: Kernels, top_p: float, top_k: int) -> None:
    row = torch.tensor([0.1, 0.35, 0.05, 0.2, 0.3]).log()
    n = 2000
    uniforms = (torch.arange(n, dtype=EXACT) + 0.5) / n
    draws = draw(row.expand(n, -1), uniforms, kernels, top_p=top_p, top_k=top_k)
    expected = kept_by_definition(row, top_p, top_k=top_k)
    counts = torch.bincount(draws.tokens, minlength=5).tolist()
    for token in range(5):
        assert abs(counts[token] - n * expected.get(token, 0.0)) <= 1
    for token, logprob, own in zip(
        draws.tokens.tolist(), draws.logprobs.tolist(), draws.model_logprobs.tolist(), strict=True
    ):
        assert logprob == pytest.approx(math.log(expected[token]), abs=1e-5)
        assert own == pytest.approx(float(row[token]), abs=1e-5)


def test_shares_are_exact_across_the_blocks_of_a_large_vocabulary(kernels: Kernels) -> None:
    """The two levels of the inverse CDF, with a vocabulary that is not a multiple of the block."""
    row = rows(1, 1000, 2.0)
    n = 20_000
    uniforms = (torch.arange(n, dtype=EXACT) + 0.5) / n
    tokens = draw(row.expand(n, -1), uniforms, kernels, top_p=0.9, temperature=1.2).tokens
    expected = kept_by_definition(row[0], 0.9, 1.2)
    counts = torch.bincount(tokens, minlength=1000)
    assert set(tokens.tolist()) <= set(expected)
    for token, probability in expected.items():
        assert abs(int(counts[token]) - n * probability) <= 1.01
    assert bool((tokens[1:] >= tokens[:-1]).all()), "the vocabulary is walked in the order of its ids"


@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("vocabulary", [90, 256, 700])
def test_extreme_uniforms_stay_in_the_nucleus(kernels: Kernels, vocabulary: int, top_p: float) -> None:
    logits = rows(60, vocabulary, 2.0)
    logits[:, [0, 7, vocabulary - 1]] = -torch.inf
    kept = [kept_by_definition(row, min(top_p, 1 - 1e-12)) for row in logits]
    inside = [sorted(token for token, p in shares.items() if p > 0) for shares in kept]
    for uniform in (0.0, 1.0 - 2**-53, 1.0):  # 1.0: as if the product had been rounded up
        draws = draw(logits, torch.full((60,), uniform, dtype=EXACT), kernels, top_p=top_p)
        assert bool(draws.logprobs.isfinite().all())
        for tokens, token in zip(inside, draws.tokens.tolist(), strict=True):
            assert token in tokens
            if top_p < 1:
                assert token == (tokens[0] if uniform == 0 else tokens[-1])


def test_temperature_shapes_the_draw_but_not_the_models_log_probability() -> None:
    logits = rows(50, 30, 1.0)
    uniforms = torch.linspace(0, 0.99, 50, dtype=EXACT)
    for temperature in (0.5, 1.0, 1.7):
        draws = draw(logits, uniforms, temperature=temperature)
        at = draws.tokens.unsqueeze(-1)
        torch.testing.assert_close(
            draws.logprobs, (logits / temperature).log_softmax(-1).gather(-1, at).squeeze(-1), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            draws.model_logprobs, logits.log_softmax(-1).gather(-1, at).squeeze(-1), atol=1e-5, rtol=0
        )


def test_greedy_takes_the_most_likely_token_whatever_the_uniform(kernels: Kernels) -> None:
    logits = rows(20, 90, 1.0)
    draws = draw(logits, torch.full((20,), 0.999, dtype=EXACT), kernels, temperature=0.0, top_p=0.9)
    assert torch.equal(draws.tokens, logits.argmax(-1))
    assert draws.logprobs.tolist() == [0.0] * 20
    expected = [max(kept_by_definition(row, 0.9).values()) for row in logits]
    torch.testing.assert_close(draws.probabilities, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_a_row_draws_the_same_in_any_batch(kernels: Kernels) -> None:
    logits = rows(30, 600, 1.0)
    uniforms = torch.linspace(0, 0.99, 30, dtype=EXACT)
    together = draw(logits, uniforms, kernels, top_p=0.95)
    for i in range(30):
        alone = draw(logits[i : i + 1], uniforms[i : i + 1], kernels, top_p=0.95)
        assert int(alone.tokens) == int(together.tokens[i])
        assert float(alone.logprobs) == pytest.approx(float(together.logprobs[i]), abs=1e-6)


class Alone:
    """The only rank there is: what it does with its part is what each of several does with theirs."""

    rank = 0

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0)


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_padded_part_finds_what_the_whole_finds(kernels: Kernels, temperature: float) -> None:
    logits, uniforms = rows(4, 3000, 3.0), torch.linspace(0, 0.99, 4, dtype=EXACT)
    whole = sampler(3000, kernels, temperature=temperature, top_p=0.95)
    part = TokenSampler(whole.sampler, kernels, Vocabulary(3000, 3008, Alone()))
    padded = torch.nn.functional.pad(logits, (0, 8), value=-torch.inf)
    assert part.draw(padded, uniforms).tokens.tolist() == whole.draw(logits, uniforms).tokens.tolist()
    for ours, theirs in zip(part.draw(padded, uniforms), whole.draw(logits, uniforms), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropies(part, padded), entropies(whole, logits), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(margins(part, padded), margins(whole, logits), atol=1e-5, rtol=1e-5)


def test_a_small_vocabulary_is_not_compiled() -> None:
    assert not Kernels.choose(Vocabulary.whole(448), torch.device("cpu")).compiled
    assert not Kernels.choose(Vocabulary.whole(100_000), torch.device("cpu"), "never").compiled


def test_without_a_compiler_the_plain_kernels_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "no-such-compiler"),))
    torch.compiler.reset()
    said: list[str] = []
    kernels = Kernels.choose(Vocabulary.whole(9000), torch.device("cpu"), said=said.append)
    assert len(said) == 1, "it is announced before it begins"
    assert not kernels.compiled
    assert "uncompiled" in caplog.text
