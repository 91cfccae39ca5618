"""Truncated importance weights, from what rollout workers record to what the learner makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedViews, pack_views
from learner.partition import Piece
from learner.policy import Policy
from learner.samples import TrainingSample
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.token_estimates import token_estimates
from tests.learner.learner_tools import by_sample, make_samples

SEED = 3
MakeModel = Callable[..., MaskedDiffusionModel]


def pack(samples: list[TrainingSample], config: LearnerConfig) -> PackedViews:
    estimator = make_estimator(config.estimator, config.inner_iterations)
    views = [estimator.views(sample.key(SEED, 0), sample) for sample in samples]
    pieces = [Piece(s, tuple(range(len(v.masks)))) for s, v in zip(samples, views, strict=True)]
    return pack_views(pieces, views, 0, torch.device("cpu"))


def recorded(samples: list[TrainingSample], model: MaskedDiffusionModel, config: LearnerConfig) -> list[Any]:
    denoiser, estimator = TorchDenoiser(model), make_estimator(config.estimator, config.inner_iterations)
    views = [estimator.views(sample.key(SEED, 0), sample) for sample in samples]
    return [
        replace(s, sampling_logprobs=token_estimates(denoiser, s, shown))
        for s, shown in zip(samples, views, strict=True)
    ]


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("name", ["coupled", "full_mask", "elbo", "trace", "left_to_right"])
def test_rollout_workers_record_what_the_learner_would_estimate(
    make_model: MakeModel, name: Any, shift: bool
) -> None:
    config = LearnerConfig.model_validate({"estimator": name})
    model = make_model(vocab_size=20, shift=shift, mask_token_id=0, eos_token_id=1, pad_token_id=1)
    samples = recorded(make_samples(7), model, config)
    packed = pack(samples, config)
    with torch.no_grad():
        estimates = packed.tokens.estimates(Policy(model).log_probs(packed))
    found = by_sample(packed, estimates)
    expected = [p for s in samples for p in s.sampling_logprobs[: s.valid_tokens]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)
    assert all(p == 0 for s in samples for p in s.sampling_logprobs[s.valid_tokens :])
    torch.testing.assert_close(packed.tokens.importance_weights(estimates, 2.0), torch.ones_like(estimates))


def test_weights_are_likelihood_ratios_up_to_the_cap() -> None:
    samples = [replace(s, sampling_logprobs=(-1.0, -2.0, -3.0, -4.0, -5.0, -6.0)) for s in make_samples(6)]
    tokens = pack(samples, LearnerConfig()).tokens
    old = -1.1 * tokens.position - tokens.owner / 7.0
    found = tokens.importance_weights(old, cap=1.5)
    expected = [
        min(1.5, math.exp(o + 1.0 + k)) for o, k in zip(old.tolist(), tokens.position.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)
    assert 1.5 in expected
    assert min(expected) < 1


def test_a_rollout_that_recorded_nothing_is_refused() -> None:
    samples = make_samples(2)
    with pytest.raises(ValueError, match=r"group 0, sample 0: .*off_policy_cap must be set from the start"):
        pack(samples, LearnerConfig()).tokens.importance_weights(torch.zeros(3), 2.0)
