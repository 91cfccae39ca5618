from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from evaluation.agreement import Agreement, exact_counterpart, measure_agreement
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]


def measure(model: MaskedDiffusionModel, **fields: Any) -> Agreement:
    settings = {
        "temperature": 0.0,
        "top_p": 1.0,
        "completion_length": 12,
        "denoising_steps": 12,
        "block_length": 4,
    }
    denoiser = TorchDenoiser(model)
    requests = [Request((2 + i, 11 - i), NoiseKey(0, "probe", (0, i, 0))) for i in range(10)]
    return measure_agreement(
        DenoisingEngine(denoiser), denoiser, requests, Sampler.model_validate(settings | fields)
    )


def test_the_exact_sampler_agrees_with_itself(make_model: MakeModel) -> None:
    found = measure(make_model(vocab_size=12))
    assert (found.same_texts, found.same_tokens) == (1.0, 1.0)
    assert found.logprob_gap < 1e-5
    assert found.exact_forwards == found.approximate_forwards


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_leaves_a_gap_of_log_probability(make_model: MakeModel, cache: str) -> None:
    found = measure(make_model(vocab_size=12), approximate_cache=cache)
    assert 1e-4 < found.logprob_gap < 1.0
    assert 0.0 < found.same_tokens < 1.0
    assert found.same_texts <= found.same_tokens


def test_a_threshold_saves_passes_and_has_no_gap(make_model: MakeModel) -> None:
    """It scores with exact passes; it only commits more at once."""
    found = measure(make_model(vocab_size=12), decoder="threshold", threshold=0.3)
    assert found.approximate_forwards < found.exact_forwards
    assert found.logprob_gap < 1e-5


def test_the_counterpart_drops_every_approximation() -> None:
    base = {"temperature": 0.0, "top_p": 1.0, "completion_length": 12, "denoising_steps": 3, "block_length": 4}
    cached = Sampler.model_validate(base | {"approximate_cache": "dual"})
    assert exact_counterpart(cached) == Sampler.model_validate(base)
    threshold = exact_counterpart(Sampler.model_validate(base | {"decoder": "threshold"}))
    assert (threshold.decoder, threshold.denoising_steps) == ("low_confidence", 12)
    assert not threshold.approximate
