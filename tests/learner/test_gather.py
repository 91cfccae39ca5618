"""Whole weights come out of every ZeRO stage, and stage 3 never holds more than a bucket of them."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from learner.gather import full_parameters

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
    run_ranks(tmp_path)
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["held_before"] == found["held_after"] == 0
        expected = list(Model().named_parameters())
        assert [name for name, _ in found["weights"]] == [name for name, _ in expected]
        for (_, tensor), (_, parameter) in zip(found["weights"], expected, strict=True):
            assert torch.equal(tensor, parameter)
        # What was whole at the time, in elements: 100+7+90 fit, 301 are too many, 5+25+169+1 fit.
        assert found["held"] == [197] * 3 + [301] + [200] * 4


def run_ranks(folder: Path, deadline: float = 120.0) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    processes = [
        context.Process(target=rank_main, args=(rank, port, folder), daemon=True) for rank in range(WORLD)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + deadline
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * WORLD, f"ranks ended with {codes} (None: missed the deadline)"


def rank_main(rank: int, port: int, folder: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(WORLD),
        "LOCAL_RANK": "0",
    }
    torch.set_num_threads(1)
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=60), verbose=False)
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
    torch.distributed.destroy_process_group()


def held(model: nn.Module) -> int:
    """Elements of parameters that are whole on this rank."""
    return sum(parameter.numel() for parameter in model.parameters())
