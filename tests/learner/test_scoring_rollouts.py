"""The learner scores a token as the sampler did: the same model function, mask and positions, on packed rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from common.likelihood.trace import TraceEstimator
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from learner.batch import pack_views
from learner.partition import Piece
from learner.policy import Policy
from learner.samples import TrainingSample
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request
from tests.learner.learner_tools import by_sample

LENGTH = 14


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("block", [0, 7])
def test_the_trace_estimate_is_what_sampling_recorded(
    make_model: Callable[..., MaskedDiffusionModel], shift: bool, block: int
) -> None:
    model = make_model(vocab_size=20, shift=shift)
    sampler = Sampler(temperature=1.2, top_p=0.95, denoising_steps=4, completion_length=LENGTH, block_length=block)
    requests = [Request(tuple(range(2, 4 + i)), NoiseKey(0, "noise-train", (0, i, 0))) for i in range(12)]
    completions = DenoisingEngine(TorchDenoiser(model)).run(requests, sampler)
    assert any(c.overwritten for c in completions)  # later steps saw tokens that the completion does not show
    samples = [
        TrainingSample.of(request.prompt_ids, done, group=0, sample=i, advantage=0.0)
        for i, (request, done) in enumerate(zip(requests, completions, strict=True))
    ]
    views = [TraceEstimator().views(sample.key(0, 0), sample) for sample in samples]
    pieces = [Piece(s, tuple(range(len(v.masks)))) for s, v in zip(samples, views, strict=True)]
    packed = pack_views(pieces, views, model.config.mask_token_id, torch.device("cpu"))
    with torch.no_grad():
        scored = by_sample(packed, packed.tokens.estimates(Policy(model).log_probs(packed)))
    recorded = [
        torch.tensor(c.model_logprobs[: s.valid_tokens]) for c, s in zip(completions, samples, strict=True)
    ]
    torch.testing.assert_close(scored, torch.cat(recorded), atol=1e-5, rtol=0)
