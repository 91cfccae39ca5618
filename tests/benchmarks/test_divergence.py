"""Where two engines part is found, and a near-tie is told from another model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.divergence import NEAR_TIE, Divergence, find_divergence, first_difference
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]
REQUESTS = [Request((3, 4, 5 + row % 7), NoiseKey(0, "divergence", (row,))) for row in range(64)]


class RoundedDenoiser(TorchDenoiser):
    """A denoiser whose logits are off by up to ``error``, as those of other kernels would be."""

    error = 0.0

    def local_logits(self, rows: Tensor) -> Tensor:
        logits = super().local_logits(rows)
        return logits + self.error * torch.sin(1e4 * logits.nan_to_num(neginf=0.0))


def sampler(decoder: str, temperature: float = 1.2) -> Sampler:
    return Sampler(decoder=decoder, temperature=temperature, denoising_steps=6, completion_length=24)


def completed(
    model: MaskedDiffusionModel, setting: Sampler, error: float
) -> tuple[TorchDenoiser, list[Completion], list[Completion]]:
    denoiser, other = TorchDenoiser(model), RoundedDenoiser(model)
    other.error = error
    return (
        denoiser,
        DenoisingEngine(denoiser).run(REQUESTS, setting),
        DenoisingEngine(other).run(REQUESTS, setting),
    )


def divergences(model: MaskedDiffusionModel, setting: Sampler, error: float) -> list[Divergence]:
    denoiser, ours, theirs = completed(model, setting, error)
    found = [
        find_divergence(denoiser, request, setting, one, other)
        for request, one, other in zip(REQUESTS, ours, theirs, strict=True)
    ]
    assert [each is None for each in found] == [
        (a.completion_ids, a.step_map, a.overwritten) == (b.completion_ids, b.step_map, b.overwritten)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("decoder", ["entropy", "maskgit_plus", "threshold", "origin"])
def test_a_difference_that_rounding_makes_takes_changes_of_its_size(make_model: MakeModel, decoder: str) -> None:
    error = 1e-3
    found = divergences(make_model(), sampler(decoder), error)
    assert found, "no tie was near enough to be decided otherwise: give it more requests"
    changes = [each.change for each in found]
    assert all(change is not None and change <= 10 * error for change in changes)
    kinds = {each.kind for each in found}
    assert kinds == {"tokens"} if decoder == "origin" else "positions" in kinds


def test_another_model_is_no_near_tie(make_model: MakeModel) -> None:
    setting = sampler("entropy")
    denoiser, ours, _ = completed(make_model(), setting, 0.0)
    _, theirs, _ = completed(make_model(seed=1), setting, 0.0)
    for request, one, other in list(zip(REQUESTS, ours, theirs, strict=True))[:4]:
        found = find_divergence(denoiser, request, setting, one, other)
        assert found is not None
        assert not found.near_tie


def test_the_first_step_that_differs_is_found() -> None:
    one = Completion(
        completion_ids=(7, 8, 0, 2),
        end=2,
        step_map=(2, 0, 1, -1),
        logprobs=(0.0,) * 4,
        model_logprobs=(0.0,) * 4,
        overwritten=((3, 9, 1),),
        forwards=3,
        versions=(0, 0),
    )
    assert first_difference(one, one) is None
    assert first_difference(one, one.model_copy(update={"completion_ids": (6, 8, 0, 2)})) == 2
    assert first_difference(one, one.model_copy(update={"step_map": (2, 1, 0, -1)})) == 0
    # What the end of the text made void was seen by later steps.
    assert first_difference(one, one.model_copy(update={"overwritten": ((3, 5, 1),)})) == 1
    assert first_difference(one, one.model_copy(update={"overwritten": ()})) == 1


def test_a_near_tie_is_what_rounding_in_fp32_explains() -> None:
    assert Divergence(0, "tokens", NEAR_TIE).near_tie
    assert not Divergence(0, "tokens", 10 * NEAR_TIE).near_tie
    assert not Divergence(0, "tokens", None).near_tie
