"""The learner scores a token as the sampler did: the same model function, mask and positions, on packed rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from learner.batch import TrainingSample, pack_views
from learner.estimator import Views
from learner.policy import Policy
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.requests import Request

LENGTH = 14


@pytest.mark.parametrize("shift", [True, False])
def test_the_learners_policy_gives_the_log_probabilities_that_sampling_recorded(
    make_model: Callable[..., MaskedDiffusionModel], shift: bool
) -> None:
    model = make_model(vocab_size=60, shift=shift)
    sampler = Sampler(temperature=1.2, top_p=0.95, denoising_steps=5, completion_length=LENGTH)
    requests = [Request(tuple(range(2, 4 + i)), NoiseKey(0, "noise-train", (0, i, 0))) for i in range(8)]
    completions = DenoiseLoop(TorchDenoiser(model)).run(requests, sampler)
    # Where nothing was overwritten, the canvas of every step can be made from the completion and the step map.
    whole = [(r, c) for r, c in zip(requests, completions, strict=True) if not c.overwritten and c.end == LENGTH]
    assert len(whole) >= 4
    samples = [TrainingSample(i, 0, r.prompt_ids, c.ids, LENGTH, 0.0) for i, (r, c) in enumerate(whole)]
    steps = np.array([c.step_map for _, c in whole])
    views = [
        Views(
            masks=np.stack([row >= step for step in range(5)]),
            weights=np.stack([row == step for step in range(5)]).astype(np.float64),
        )
        for row in steps
    ]
    packed = pack_views(samples, views, model.config.mask_token_id, torch.device("cpu"))
    with torch.no_grad():
        scored = Policy(model)(packed)
    recorded = torch.tensor([c.model_logprobs for _, c in whole])
    torch.testing.assert_close(scored, recorded, atol=1e-5, rtol=0)
