from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.models.window import Memory, Window
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request
from tests.rollout_workers.naive_locking import follow

MakeModel = Callable[..., MaskedDiffusionModel]
#: Of a model whose rows change by about this much from step to step.
BOUND = 2e-2


class Watched(TorchDenoiser):
    """Keeps how many rows every pass computed."""

    def __init__(self, model: MaskedDiffusionModel) -> None:
        super().__init__(model)
        self.computed: list[int] = []

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        self.computed.append(len(window.rows))
        return super().refresh(ids, packing, window, memory)


def sampler(bound: float, **fields: Any) -> Sampler:
    settings = {"temperature": 1.2, "top_p": 0.95, "completion_length": 12, "denoising_steps": 12}
    return Sampler.model_validate(settings | {"approximate_locking": bound} | fields)


def prompts() -> list[tuple[int, ...]]:
    return [tuple(range(2, 4 + (5 * i) % 7)) for i in range(10)]


def requests() -> list[Request]:
    return [Request(prompt, NoiseKey(5, "noise-train", (0, i, 0))) for i, prompt in enumerate(prompts())]


def denoise(
    denoiser: TorchDenoiser, setting: Sampler, tokens: int = 16384, deferred: bool = False
) -> list[Completion]:
    return DenoisingEngine(denoiser, tokens, deferred=deferred).run(requests(), setting)


@pytest.mark.parametrize(("shift", "decoder"), [(True, "entropy"), (False, "low_confidence"), (True, "random")])
@torch.inference_mode()
def test_it_computes_what_plain_loops_compute_and_only_the_rows_that_are_not_locked(
    make_model: MakeModel, shift: bool, decoder: str
) -> None:
    model = make_model(vocab_size=12, shift=shift)
    setting = sampler(BOUND, decoder=decoder)
    saved = 0
    for request in requests()[:4]:
        denoiser = Watched(model)
        (done,) = DenoisingEngine(denoiser).run([request], setting)
        expected, computed = follow(model, request.prompt_ids, done, BOUND)
        assert denoiser.computed == computed
        for position in range(done.text_tokens):
            assert done.model_logprobs[position] == pytest.approx(expected[position], abs=1e-4)
        saved += len(computed) * (len(request.prompt_ids) + 12) - sum(computed)
    assert saved > 0, "nothing was locked, so nothing was compared"


def test_without_a_change_below_the_bound_it_is_the_exact_sampler(make_model: MakeModel) -> None:
    denoiser = TorchDenoiser(make_model(vocab_size=12))
    exact, locked = denoise(denoiser, sampler(0.0)), denoise(denoiser, sampler(1e-30))
    assert [done.completion_ids for done in locked] == [done.completion_ids for done in exact]
    assert [done.step_map for done in locked] == [done.step_map for done in exact]


@pytest.mark.parametrize("shift", [True, False])
def test_a_completion_depends_neither_on_its_batch_nor_on_its_order(make_model: MakeModel, shift: bool) -> None:
    """Rows enter, leave and lock at different times, and take what is remembered along."""
    denoiser = TorchDenoiser(make_model(vocab_size=12, shift=shift))
    whole = denoise(denoiser, sampler(BOUND))
    assert len({done.end for done in whole}) > 2
    for tokens, deferred in ((1, False), (40, False), (60, True)):
        again = denoise(denoiser, sampler(BOUND), tokens, deferred)
        assert [done.completion_ids for done in again] == [done.completion_ids for done in whole]
        assert [done.step_map for done in again] == [done.step_map for done in whole]


@pytest.mark.parametrize(
    "mode", [{"approximate_locking": 1e9}, {"approximate_cache": "prefix", "block_length": 12}]
)
def test_other_weights_make_it_forget_what_it_computed_by_the_old_ones(
    make_model: MakeModel, mode: dict[str, Any]
) -> None:
    """At this bound every row is locked as soon as it can be; the step after an update computes all of them."""
    denoiser = Watched(make_model(vocab_size=12))
    engine = DenoisingEngine(denoiser)
    engine.add(requests()[:2], sampler(0.0, **mode))
    for version in (0, 0, 0, 1):
        engine.step(version)
    whole = sum(len(prompt) + 12 for prompt in prompts()[:2])
    assert denoiser.computed[0] == denoiser.computed[3] == whole > denoiser.computed[2]
