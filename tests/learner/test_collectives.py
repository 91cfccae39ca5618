"""Whole weights come out of every ZeRO stage, and stage 3 never holds more than a bucket of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learner.collectives import full_parameters
from tests.learner.rank_processes import run_ranks

WORLD = 2
BUCKET_BYTES = 4 * 200
#: Numbers of elements: some share a bucket, one is larger than a bucket.
SHAPES = [(10, 10), (7,), (9, 10), (301,), (5,), (5, 5), (13, 13), (1,)]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(s, generator=generator)) for s in SHAPES)


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_whole_weights_are_handed_through_without_a_copy(zero_stage: int) -> None:
    model = Model()
    found = list(full_parameters(model.named_parameters(), zero_stage, BUCKET_BYTES))
    assert [name for name, _ in found] == [name for name, _ in model.named_parameters()]
    for (_, tensor), parameter in zip(found, model.parameters(), strict=True):
        assert tensor.data_ptr() == parameter.data_ptr()
        assert not tensor.requires_grad


def test_partitioned_weights_come_whole_and_a_bucket_at_a_time(tmp_path: Path) -> None:
    run_ranks(WORLD, gather, (tmp_path,), deadline=120.0)
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["held_before"] == found["held_after"] == 0
        expected = list(Model().named_parameters())
        assert [name for name, _ in found["weights"]] == [name for name, _ in expected]
        for (_, tensor), (_, parameter) in zip(found["weights"], expected, strict=True):
            assert torch.equal(tensor, parameter)
        # What was whole at the time, in elements: 100+7+90 fit, 301 are too many, 5+25+169+1 fit.
        assert found["held"] == [197] * 3 + [301] + [200] * 4


def gather(rank: int, folder: Path) -> None:
    import deepspeed

    model = Model()
    deepspeed.initialize(
        model=model,
        optimizer=torch.optim.SGD(model.parameters()),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        },
        dist_init_required=False,
    )
    result: dict[str, Any] = {"held_before": held(model), "held": [], "weights": []}
    for name, tensor in full_parameters(model.named_parameters(), 3, BUCKET_BYTES):
        result["held"].append(held(model))
        result["weights"].append((name, tensor.clone()))
    result["held_after"] = held(model)
    torch.save(result, folder / f"{rank}.pt")


def held(model: nn.Module) -> int:
    """Elements of parameters that are whole on this rank."""
    return sum(parameter.numel() for parameter in model.parameters())
