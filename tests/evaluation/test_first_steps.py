"""Confidences at the first steps, beside a plain look at one canvas after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pvariance
from typing import Any

import pytest
import torch

from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Sampler
from evaluation.analysis.confidence import FIRST_STEPS, StepConfidence
from evaluation.analysis.first_steps import measure_first_steps
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

LENGTH = 12
PROMPTS = ((5, 6, 7), (9, 8, 7, 6, 5, 4), (11,))


def requests() -> list[Request]:
    return [Request(prompt, NoiseKey(3, "first-steps", (0, i, 0))) for i, prompt in enumerate(PROMPTS)]


def canvas_before(model: MaskedDiffusionModel, done: Completion, step: int) -> list[int]:
    """The completion as its step ``step`` finds it, tokens behind the end of the text included."""
    tokens = list(done.completion_ids)
    for position, token, _ in done.overwritten:
        tokens[position] = token
    steps = done.executed_step_map
    return [
        token if 0 <= at < step else model.config.mask_token_id for token, at in zip(tokens, steps, strict=True)
    ]


@torch.inference_mode()
def looked_at(model: MaskedDiffusionModel, prompt: Sequence[int], canvas: Sequence[int]) -> dict[int, Any]:
    """Confidence and entropy of each masked position."""
    packing = Packing.of([len(prompt) + len(canvas)], torch.device("cpu"))
    hidden = model.hidden(packing.pack([[*prompt, *canvas]]), packing)
    found = {}
    for place, token in enumerate(canvas):
        if token == model.config.mask_token_id:
            row = model.source_rows(torch.tensor([len(prompt) + place]))
            shares = model.logits(hidden[row])[0].double().softmax(-1).tolist()
            found[place] = (max(shares), -sum(p * math.log(p) for p in shares if p))
    return found


def naive(
    model: MaskedDiffusionModel, sampler: Sampler, completions: Sequence[Completion]
) -> list[StepConfidence]:
    steps = []
    for step in range(FIRST_STEPS):
        seen = [
            looked_at(model, prompt, canvas_before(model, done, step))
            for prompt, done in zip(PROMPTS, completions, strict=True)
            if step < done.forwards
        ]
        of = [[one[k] for one in seen if k in one] for k in range(LENGTH)]
        steps.append(
            StepConfidence(
                step=step,
                masked=tuple(map(len, of)),
                mean=tuple(fmean(c for c, _ in some) if some else None for some in of),
                variance=tuple(pvariance([c for c, _ in some]) if some else None for some in of),
                entropy=tuple(fmean(e for _, e in some) if some else None for some in of),
                spread=fmean(pvariance([c for c, _ in one.values()]) for one in seen),
            )
        )
    return steps


@pytest.mark.parametrize("settings", [{"denoising_steps": 12}, {"denoising_steps": 12, "decoder": "origin"}])
def test_every_step_sees_what_the_engine_shows_it(
    make_model: Callable[..., MaskedDiffusionModel], settings: dict[str, Any]
) -> None:
    model = make_model()
    denoiser = TorchDenoiser(model)
    sampler = Sampler(completion_length=LENGTH, temperature=1.0, top_p=0.9, **settings)
    wanted = naive(model, sampler, DenoisingEngine(denoiser).run(requests(), sampler))
    told: list[int] = []
    found = measure_first_steps(denoiser, Kernels(), sampler, requests(), 35, told.append)
    assert told == [2, 1]  # 15 and 18 tokens fit together, and 13 do not beside them
    assert [one.step for one in found] == list(range(FIRST_STEPS))
    for one, other in zip(found, wanted, strict=True):
        assert one.masked == other.masked
        for name in ("mean", "variance", "entropy"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2e-5)
        assert one.spread == pytest.approx(other.spread, abs=2e-5)


def test_a_completion_that_is_finished_is_in_no_later_step(
    make_model: Callable[..., MaskedDiffusionModel],
) -> None:
    sampler = Sampler(completion_length=LENGTH, temperature=0.0, denoising_steps=3)
    found = measure_first_steps(TorchDenoiser(make_model()), Kernels(), sampler, requests(), 4096)
    assert 1 <= len(found) <= 3
    assert found[0].masked == (3,) * LENGTH
    assert measure_first_steps(TorchDenoiser(make_model()), Kernels(), sampler, [], 4096) == ()
