from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.models.inference import InferenceModel
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from evaluation.calibration import calibrate
from evaluation.work import CountingDenoiser
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]


def sampler(**fields: Any) -> Sampler:
    return Sampler.model_validate({"completion_length": 12, "denoising_steps": 12, "block_length": 4} | fields)


def requests(count: int, repeats: int = 1) -> list[Request]:
    return [Request((2 + i, 11 - i, 4) * repeats, NoiseKey(0, "probe", (0, i, 0))) for i in range(count)]


@pytest.mark.parametrize(
    "mode", [{}, {"approximate_cache": "dual"}, {"approximate_cache": "prefix"}, {"approximate_locking": 0.02}]
)
def test_the_work_is_what_pytorch_counts(
    make_model: MakeModel, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU, whose work is meant: a CPU leaves out what the first layer would do for unchanged tokens.
    monkeypatch.setattr(InferenceModel, "_remembers", lambda self, ids: False)
    model = make_model(vocab_size=12)
    counting = CountingDenoiser(TorchDenoiser(model))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        DenoisingEngine(counting).run(requests(1), sampler(**mode))
    assert counting.work.flops(model.config) == counter.get_total_flops()


def test_a_looser_bound_saves_more_and_costs_more(make_model: MakeModel) -> None:
    model = make_model(vocab_size=12, num_hidden_layers=4)
    settings = [sampler(approximate_locking=bound, block_length=0) for bound in (1e-30, 0.02, 1e9)]
    found = calibrate(TorchDenoiser(model), Kernels(), 16384, requests(6, repeats=8), settings)
    none, some, most = found
    assert (none.same_texts, none.same_tokens) == (1.0, 1.0)
    assert none.kl == pytest.approx(0.0, abs=1e-6)
    assert none.kl < some.kl < most.kl
    savings = [each.saving(model.config) for each in found]
    assert savings[0] < 1 < savings[2], "locking nothing has its checks to pay"
    assert savings == sorted(savings)
