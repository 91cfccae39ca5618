"""The comparison is a fair one: the naive side does what the engine does. No assertion is about time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks.measure import peak_bytes, product_share
from benchmarks.naive_denoise import denoise, draw, stock_model
from benchmarks.rollout import greedy_agreement
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from orchestrator.commands.main import main
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request
from rollout_workers.sampling import TokenSampler
from rollout_workers.vocabulary import Vocabulary

MakeModel = Callable[..., MaskedDiffusionModel]
TINY = (
    "--repeats",
    "1",
    "--steps",
    "2",
    "--prompt",
    "12",
    "--completion",
    "8",
    "--threads",
    "1",
    "--device",
    "cpu",
)
CPU = torch.device("cpu")
TELLS_PEAKS = os.access("/proc/self/clear_refs", os.W_OK)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def prompts() -> list[tuple[int, ...]]:
    ids = np.random.default_rng(0)
    return [tuple(ids.integers(2, 50, length).tolist()) for length in (1, 9, 4, 9, 13)]


def sampler(temperature: float, top_p: float = 0.95, steps: int = 5) -> Sampler:
    return Sampler(
        temperature=temperature, top_p=top_p, denoising_steps=steps, completion_length=16, upstream=True
    )


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "rollout", *arguments])


@pytest.mark.parametrize(("top_p", "steps", "seed"), [(1.0, 5, 0), (0.95, 7, 1), (0.6, 16, 2)])
def test_greedy_tokens_are_the_engines(
    make_model: MakeModel, prompts: list[tuple[int, ...]], top_p: float, steps: int, seed: int
) -> None:
    model = make_model(vocab_size=60, token_count=50, seed=seed)
    stock = stock_model(model, torch.float32)
    setting = sampler(0.0, top_p, steps)
    theirs = denoise(stock, model.config, prompts, setting).tolist()
    requests = [Request(prompt, NoiseKey(0, "bench", (row,))) for row, prompt in enumerate(prompts)]
    ours = DenoisingEngine(TorchDenoiser(model)).run(requests, setting)
    for completion, tokens in zip(ours, theirs, strict=True):
        assert list(completion.completion_ids[: completion.end + 1]) == tokens[: completion.end + 1]
    assert greedy_agreement(ours, theirs) == 1.0
    other = [[token + 1 for token in row] for row in theirs]
    assert greedy_agreement(ours, other) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_naive_sampling_fills_every_position_with_a_token(
    make_model: MakeModel, prompts: list[tuple[int, ...]], dtype: torch.dtype
) -> None:
    model = make_model(vocab_size=60, token_count=50)
    tokens = denoise(stock_model(model, dtype), model.config, prompts, sampler(1.2))
    assert tokens.shape == (5, 16)
    assert not torch.isin(tokens, torch.tensor(model.config.forbidden_token_ids)).any()


def test_both_sides_rank_positions_alike_at_the_papers_temperature() -> None:
    """By the negative entropy after temperature and top-p; what is drawn is of the nucleus."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.cat([torch.randn(8, 300, generator=generator) * std for std in (0.1, 3.0)])
    setting = sampler(1.2)
    engine = TokenSampler(setting, Kernels(), Vocabulary.whole(300))
    weights, floor, _ = filtered = engine.filtered(logits)
    torch.manual_seed(0)
    for _ in range(20):
        tokens, confidence = draw(logits, setting)
        assert bool((weights.gather(1, tokens.unsqueeze(1)).squeeze(1) >= floor).all())
    torch.testing.assert_close(confidence, -engine.entropies(filtered), atol=1e-5, rtol=1e-5)


def test_naive_sampling_keeps_to_the_nucleus(make_model: MakeModel, prompts: list[tuple[int, ...]]) -> None:
    """A nucleus of one token leaves no choice."""
    model = make_model(vocab_size=60)
    stock = stock_model(model, torch.float32)
    sampled = denoise(stock, model.config, prompts, sampler(1.2, top_p=1e-6, steps=1))
    assert torch.equal(sampled, denoise(stock, model.config, prompts, sampler(0.0, top_p=1e-6, steps=1)))


@pytest.mark.usefixtures("threads")
def test_a_run_ends_with_one_line_of_finite_numbers() -> None:
    result = bench("--vocab", "300", "--json", *TINY)
    assert result.exit_code == 0, result.output
    assert "naive" in result.stdout
    found = json.loads(result.stdout.splitlines()[-1])
    assert [case["dtype"] for case in found["cases"]] == ["float32", "bfloat16"]
    assert found["settings"]["steps"] == 2
    for case in found["cases"]:
        assert case["vocabulary"] == 300
        peaks = [case[side].pop("peak_bytes") for side in ("naive", "engine")]
        assert all(peak >= 0 for peak in peaks) if TELLS_PEAKS else peaks == [None, None]
        for number in numbers(case):
            assert math.isfinite(number)
            assert number > 0
        assert max(case["naive"]["product_share"], case["engine"]["product_share"]) < 1
        assert case["ratio_min"] <= case["ratio"] <= case["ratio_max"]
    assert found["cases"][0]["greedy_agreement"] == 1.0


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif not isinstance(value, str):
        yield value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--vocab", "3"], "--vocab"),
        (["--vocab", "300,many"], "--vocab"),
        (["--vocab", "300,"], "--vocab"),
        (["--dtype", "float16"], "--dtype"),
        (["--dtype", ""], "--dtype"),
        (["--repeats", "0"], "--repeats"),
        (["--rows", "0"], "--rows"),
        (["--threads", "0"], "--threads"),
        (["--device", "tpu"], "--device"),
        (["--steps", "9", "--completion", "8"], "--steps"),
    ],
)
def test_a_bad_value_is_named(arguments: list[str], told: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert told in result.stderr.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_named() -> None:
    result = bench("--device", "cuda")
    assert result.exit_code == 2
    assert "no GPU" in result.stderr


def test_the_share_of_products_tells_them_from_the_rest() -> None:
    square, row = torch.randn(400, 400), torch.randn(1_000_000)
    assert product_share(lambda: square @ square, CPU) > 0.2
    assert product_share(lambda: row.exp(), CPU) == 0


@pytest.mark.skipif(not TELLS_PEAKS, reason="the kernel does not let a process reset its peak of memory")
def test_the_peak_counts_memory_that_was_given_back() -> None:
    mib = 2**20

    def work() -> None:
        torch.ones(64 * mib // 4).sum()

    found = peak_bytes(work, CPU)
    assert found is not None
    assert 60 * mib < found < 100 * mib
