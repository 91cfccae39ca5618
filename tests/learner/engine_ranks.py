"""Runs the real engine in processes of its own: gloo on the loopback interface, one process a rank."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from learner_tools import make_samples, tiny_policy
from safetensors.torch import load_file

from common.config import LearnerConfig, OptimizerConfig
from common.models.weights import from_buckets, to_buckets
from learner.checkpoints import CheckpointError

SEED = 5
STEPS = 3
CONFIG = LearnerConfig(
    inner_iterations=2,
    kl_weight=0.1,
    clip=0.05,
    reference_sync_steps=4,
    micro_batch=8,
    optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=2.0),
)
TOTAL_UPDATES = 2 * STEPS * CONFIG.inner_iterations


@dataclass(frozen=True)
class Case:
    """One run of three learner steps. ``reload_after``: save after that step and go on in a fresh engine."""

    name: str
    samples: int = 8
    micro_batch: int = 8
    zero_stage: int = 0
    reload_after: int = 0


def run_cases(world: int, cases: Sequence[Case], folder: Path, deadline: float = 240.0) -> dict[str, Any]:
    """Run the cases one after another in ``world`` processes; case name -> what rank 0 found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    processes = [
        context.Process(target=_rank_main, args=(rank, world, port, cases, folder), daemon=True)
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + deadline
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * world, f"ranks ended with {codes} (None: missed the deadline)"
    return {case.name: torch.load(folder / f"{case.name}.pt") for case in cases}


def _rank_main(rank: int, world: int, port: int, cases: Sequence[Case], folder: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": "0",
    }
    torch.set_num_threads(1)
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=120), verbose=False)
    for case in cases:
        found = _run(case, folder / case.name)
        if rank == 0:
            torch.save(found, folder / f"{case.name}.pt")
    torch.distributed.destroy_process_group()


def _run(case: Case, folder: Path) -> dict[str, Any]:
    import torch.distributed as dist

    folder.mkdir(exist_ok=True)
    engine = _engine(case, seed=0)
    updates, metrics = 0, []
    for step in range(STEPS):
        metrics.append(engine.train(make_samples(case.samples, step), updates))
        updates += CONFIG.inner_iterations
        if step + 1 == case.reload_after:
            engine.save(folder)
            dist.barrier()
            engine = _engine(case, seed=99)
            engine.load(folder)
    weights = {name: tensor.detach().clone() for name, tensor in engine.parameters()}
    engine.save(folder)
    dist.barrier()
    return {
        "weights": weights,
        "reference": load_file(folder / "reference.safetensors"),
        "metrics": metrics,
        "published": dict(from_buckets(*to_buckets(engine.parameters(), version=1, bucket_bytes=4000))),
        "listed": {name: tensor.detach().clone() for name, tensor in list(engine.parameters())},
        "refusal": _refusal(engine, folder / "nothing"),
    }


def _refusal(engine: Any, folder: Path) -> str:
    try:
        engine.load(folder)
    except CheckpointError as error:
        return str(error)
    return "loaded"


def _engine(case: Case, seed: int) -> Any:
    from learner.engine import Engine
    from learner.estimator import CoupledEstimator

    config = CONFIG.model_copy(update={"micro_batch": case.micro_batch, "zero_stage": case.zero_stage})
    estimator = CoupledEstimator(config.mask_pairs, config.mask_ratio, config.weighting)
    return Engine(tiny_policy(seed), estimator, config, SEED, TOTAL_UPDATES)
