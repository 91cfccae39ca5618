from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks.measure import peak_bytes, product_share
from benchmarks.naive_denoise import denoise, stock_model
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from orchestrator.cli import main
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]
TINY = ("--vocab", "300", "--repeats", "1", "--steps", "2", "--rows", "2", "--prompt", "8", "--completion", "6")


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "rollout", *arguments])


@pytest.mark.parametrize("steps", [12, 5])
def test_the_naive_side_is_the_published_sampler(make_model: MakeModel, steps: int) -> None:
    """Greedy, it gives the engine's tokens, which other tests hold against an oracle of their own."""
    model = make_model(vocab_size=60)
    sampler = Sampler(temperature=0.0, top_p=0.95, denoising_steps=steps, completion_length=12, upstream=True)
    prompts = [(5, 6, 7), (8,), (9, 10, 11, 12, 13), (5, 6)]
    tokens = denoise(stock_model(model, torch.float32), model.config, prompts, sampler).tolist()
    requests = [Request(prompt, NoiseKey(0, "bench", (row,))) for row, prompt in enumerate(prompts)]
    for done, row in zip(DenoiseLoop(TorchDenoiser(model)).run(requests, sampler), tokens, strict=True):
        assert list(done.ids[: done.end + 1]) == row[: done.end + 1]


def test_the_naive_side_samples_at_a_temperature(make_model: MakeModel) -> None:
    model = make_model(vocab_size=60)
    sampler = Sampler(temperature=1.2, top_p=0.95, denoising_steps=6, completion_length=12, upstream=True)
    stock = stock_model(model, torch.bfloat16)
    torch.manual_seed(0)
    first, second = (denoise(stock, model.config, [(5, 6), (7, 8, 9)], sampler) for _ in range(2))
    assert first.shape == (2, 12)
    assert not torch.equal(first, second)
    assert not bool((first == model.config.mask_token_id).any())


def numbers(tree: Any) -> list[float]:
    if isinstance(tree, dict):
        return [value for branch in tree.values() for value in numbers(branch)]
    if isinstance(tree, list):
        return [value for branch in tree for value in numbers(branch)]
    return [tree] if isinstance(tree, float) else []


def test_the_command_prints_a_table_and_a_line_of_json() -> None:
    result = bench(*TINY, "--dtype", "float32", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    assert "engine" in result.output
    found = json.loads(result.output.splitlines()[-1])
    (case,) = found["cases"]
    assert (case["vocabulary"], case["dtype"]) == (300, "float32")
    assert case["greedy_agreement"] == 1.0
    assert case["nucleus_tokens"] >= 1
    assert all(math.isfinite(value) and value > 0 for value in numbers(case))
    assert 0 < case["naive"]["product_share"] < 1
    assert found["machine"]["threads"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocab", "many"], "--vocab"),
        (["--vocab", "3"], "--vocab"),
        (["--vocab", "300,300"], "names a value twice"),
        (["--dtype", "float16"], "--dtype"),
        (["--repeats", "0"], "--repeats"),
        (["--steps", "7", "--completion", "6"], "more than the 6 tokens of --completion"),
        *([] if torch.cuda.is_available() else [(["--device", "cuda"], "torch sees no GPU")]),
    ],
)
def test_bad_options_are_one_clear_error(arguments: list[str], message: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_peak_memory_sees_what_is_freed_again() -> None:
    peak = peak_bytes(lambda: torch.ones(2**24).sum(), torch.device("cpu"))
    if peak is None:
        pytest.skip("this system does not let a process reset its peak of memory")
    assert 2**26 - 2**20 <= peak < 2**27  # a page or two that were there before


def test_product_share_tells_matrix_products_from_the_rest() -> None:
    x, y = torch.randn(600, 600), torch.randn(2000, 2000)
    assert product_share(lambda: [x @ x for _ in range(20)], torch.device("cpu")) > 0.8
    assert product_share(lambda: [y.sort() for _ in range(2)], torch.device("cpu")) < 0.01
