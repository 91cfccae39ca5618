from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from common import rng
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.distances import divergence
from rollout_workers.engine import DenoisingEngine
from rollout_workers.replay import replay
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]
MODES = [{"approximate_locking": 0.02}, {"approximate_cache": "prefix"}, {"approximate_cache": "dual"}]


def sampler(share: float, **fields: Any) -> Sampler:
    settings = {
        "temperature": 1.2,
        "top_p": 0.95,
        "completion_length": 12,
        "denoising_steps": 12,
        "block_length": 4,
    }
    return Sampler.model_validate(settings | {"approximate_measured_share": share} | fields)


def requests() -> list[Request]:
    prompts = [tuple(range(2, 4 + (5 * i) % 7)) for i in range(8)]
    return [Request(prompt, NoiseKey(5, "noise-train", (0, i, 0))) for i, prompt in enumerate(prompts)]


def denoise(
    model: MaskedDiffusionModel, setting: Sampler, tokens: int = 16384, deferred: bool = False
) -> list[Completion]:
    return DenoisingEngine(TorchDenoiser(model), tokens, deferred=deferred).run(requests(), setting)


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("mode", MODES)
def test_it_adds_up_what_exact_passes_over_the_recorded_canvases_give(
    make_model: MakeModel, mode: dict[str, Any], share: float
) -> None:
    """Compared are the texts that do not end, as their records have every token that was measured."""
    model = make_model()
    total = 0.0
    for request, done in zip(requests(), denoise(model, sampler(share, **mode)), strict=True):
        if done.end < 12:
            continue
        exact = replay(TorchDenoiser(model), request.prompt_ids, done)
        key = request.key
        due = {
            step
            for step in range(12)
            if rng.stream(key.seed, f"{key.purpose}-measured", *key.indices, step).random() < share
        }
        places = [k for k, step in enumerate(done.step_map) if step in due]
        assert done.mismatch.tokens == len(places)
        expected = sum(exact[k] - done.model_logprobs[k] for k in places)
        assert done.mismatch.log_ratio == pytest.approx(expected, abs=1e-4)
        assert done.mismatch.kl >= 0
        total += done.mismatch.kl
    assert total > 1e-4, "the approximation must make a difference, or it is not measured"


@pytest.mark.parametrize("mode", MODES)
def test_what_is_measured_depends_neither_on_the_batch_nor_changes_what_is_written(
    make_model: MakeModel, mode: dict[str, Any]
) -> None:
    model = make_model(vocab_size=12)
    whole = denoise(model, sampler(0.5, **mode))
    without = denoise(model, sampler(0.0, **mode))
    assert [done.completion_ids for done in whole] == [done.completion_ids for done in without]
    assert all(done.mismatch.tokens == 0 for done in without)
    for tokens, deferred in ((1, False), (40, True)):
        for one, other in zip(whole, denoise(model, sampler(0.5, **mode), tokens, deferred), strict=True):
            assert one.mismatch.tokens == other.mismatch.tokens
            assert one.mismatch.log_ratio == pytest.approx(other.mismatch.log_ratio, abs=1e-4)
            assert one.mismatch.kl == pytest.approx(other.mismatch.kl, abs=1e-4)


def test_the_divergence_is_that_of_a_loop_and_leaves_out_what_is_never_predicted() -> None:
    first = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.7, 0.0]]).log()
    second = torch.tensor([[0.25, 0.25, 0.5, 0.0], [0.1, 0.2, 0.7, 0.0]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(first, second).tolist() == pytest.approx([expected, 0.0])
