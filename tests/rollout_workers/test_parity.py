"""With ``upstream: true`` and temperature 0 the engine's tokens are those of the published samplers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from common import rng
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from common.sampler import DREAM_DECODERS
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request
from tests.rollout_workers.naive_samplers import dream, llada, transformers_model

MakeModel = Callable[..., MaskedDiffusionModel]
CASES = [
    *(
        {"decoder": decoder, "denoising_steps": steps, "top_p": top_p, "top_k": top_k}
        for decoder in ("entropy", "topk_margin", "maskgit_plus", "origin")
        for steps, top_p, top_k in [(16, 1.0, 0), (16, 0.95, 0), (7, 0.6, 0), (5, 0.95, 4)]
    ),
    *(
        {"decoder": decoder, "denoising_steps": steps, "top_p": 1.0, "block_length": block}
        for decoder in ("low_confidence", "random")
        for steps, block in [(16, 0), (12, 4), (6, 8), (5, 0)]
    ),
    *({"decoder": "threshold", "denoising_steps": 16, "top_p": 1.0, "threshold": t} for t in (0.3, 0.6, 0.9)),
]


def settings(**fields: object) -> Sampler:
    upstream = fields["decoder"] != "threshold"
    return Sampler.model_validate({"temperature": 0.0, "completion_length": 16, "upstream": upstream} | fields)


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_tokens_are_those_of_the_published_sampler(
    make_model: MakeModel, tmp_path: Path, case: dict[str, object], shift: bool
) -> None:
    sampler = settings(**case)
    model = make_model(vocab_size=60, shift=shift, seed=8)
    ids = np.random.default_rng(8)
    prompts = [tuple(ids.integers(2, 60, 1 + (5 * i) % 9).tolist()) for i in range(8)]
    requests = [Request(prompt, NoiseKey(3, "noise-train", (0, i, 0))) for i, prompt in enumerate(prompts)]
    order = torch.tensor(np.stack([rng.stream(3, "noise-train-order", 0, i, 0).random(16) for i in range(8)]))
    naive = dream if sampler.decoder in DREAM_DECODERS else llada
    expected = naive(transformers_model(model, tmp_path / "model"), model, prompts, sampler, order)
    ours = DenoisingEngine(TorchDenoiser(model)).run(requests, sampler)
    ends = set(model.config.end_token_ids)
    for completion, tokens, steps in zip(ours, expected.tokens.tolist(), expected.steps.tolist(), strict=True):
        end = next((k for k, token in enumerate(tokens) if token in ends), 16)
        assert completion.end == end
        assert list(completion.completion_ids[: end + 1]) == tokens[: end + 1]
        assert list(completion.step_map[: end + 1]) == steps[: end + 1]
