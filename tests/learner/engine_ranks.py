"""Runs the real engine, one process a rank."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from common.config import GrpoConfig, LearnerConfig, OptimizerConfig
from common.likelihood.registry import make_estimator
from common.models.storages import MovedStorages, distinct_storages
from common.records import NoiseKey, Rollout, TrajectoryGroup
from common.weights.buckets import fill_buckets, plan_layout, read_buckets
from common.weights.layout import Manifest
from learner.checkpoints import CheckpointError
from learner.finite import first_not_finite
from learner.held_tensors import held_tensors
from learner.mismatch import MismatchMeter
from learner.objectives.registry import make_objective
from learner.samples import training_samples
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request
from tests.learner.learner_tools import make_group, make_samples, make_step, tiny_policy
from tests.learner.rank_processes import held_for_good, run_ranks

SEED = 5
STEPS = 5
CONFIG = LearnerConfig(
    inner_iterations=2,
    objective=GrpoConfig(kl_weight=0.1, clip=0.05),
    reference_sync_steps=4,
    batch_tokens=10_000,
    optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=2.0),
)
#: Version of the weights that sampled the rollout of :func:`sampled_groups`.
VERSION = 7
TOTAL_UPDATES = 2 * STEPS * CONFIG.inner_iterations


@dataclass(frozen=True)
class Case:
    """One run of ``steps`` learner steps, of so many samples each, or of scored groups (None).

    ``resume_after``: save after that step too, and in the end go on from there once more, in a fresh engine: what
    that finds has the name ``NAME-resumed``. ``settings`` change :data:`CONFIG`.
    ``sgd``: plain gradient descent in place of AdamW, which would hide the scale of a gradient.
    ``sleeps``: between steps, what the engine holds lies elsewhere, but not after a resumption.
    ``metered``: measure, before the first step and after the last one, the mismatch of :func:`sampled_groups`.
    """

    name: str
    samples: int | None = 8
    steps: int = STEPS
    zero_stage: int = 0
    resume_after: int = 0
    chunk_rows: int = 1000
    sgd: bool = False
    computes_bf16: bool = False
    metered: bool = False
    sleeps: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_cases(world: int, cases: Sequence[Case], folder: Path, deadline: float = 500.0) -> dict[str, Any]:
    """Run the cases one after another in ``world`` processes; case name -> what rank 0 found."""
    run_ranks(world, _run_all, (cases, folder), deadline)
    names = [*(case.name for case in cases), *(f"{case.name}-resumed" for case in cases if case.resume_after)]
    return {name: torch.load(folder / f"{name}.pt") for name in names}


def _run_all(rank: int, cases: Sequence[Case], folder: Path) -> None:
    for case in cases:
        # What is there already, earlier engines among it, is not looked through again, by DeepSpeed either, which
        # collects garbage for each engine.
        gc.collect()
        gc.freeze()
        found = {case.name: _run(case, folder / case.name)}
        if case.resume_after:
            name = f"{case.name}-resumed"
            found[name] = _run(case, folder / name, _on_the_way(folder / case.name))
        for name, one in found.items() if rank == 0 else ():
            torch.save(one, folder / f"{name}.pt")


def _on_the_way(folder: Path) -> Path:
    """Where a case with ``resume_after`` saves after that step."""
    return folder / "on-the-way"


def _run(case: Case, folder: Path, checkpoint: Path | None = None) -> dict[str, Any]:
    """From a ``checkpoint`` of the case's first steps on, or from the start."""
    import torch.distributed as dist

    folder.mkdir(exist_ok=True)
    config = config_of(case)
    first, asleep = 0, list[int]()
    if checkpoint is None:
        engine = _engine(case, seed=0)
    else:
        # A checkpoint replaces all weights; but for adapters, whose base stays that of the model.
        engine = _engine(case, seed=0 if "lora" in case.settings else 99)
        engine.load(checkpoint)
        first = case.resume_after
    meter = MismatchMeter(1, SEED, engine.token_estimates)
    groups = sampled_groups() if case.metered else []
    mismatches = [meter.measure(groups, VERSION)]
    updates, metrics = first * config.inner_iterations * config.minibatches, []
    for step in range(first, case.steps):
        if case.samples is None:
            samples = training_samples(make_step(step), config)
        else:
            samples = make_samples(case.samples, step)
        training = engine.train(samples, updates)
        metrics.append(training.metrics)
        updates += training.updates
        if case.sleeps and checkpoint is None:
            # Looking for what stays goes through every object that the case has made: once after a first step that
            # has made all there is, and once at the end.
            asleep += _sleep(engine, looks=step + 1 in (1, case.steps))
        if step + 1 == case.resume_after and checkpoint is None:
            _on_the_way(folder).mkdir(exist_ok=True)
            engine.save(_on_the_way(folder))
            dist.barrier()
    mismatches.append(meter.measure(groups, VERSION))
    weights = {name: tensor.detach().clone() for name, tensor in engine.parameters()}
    masters = {name: tensor.detach().clone() for name, tensor in engine.masters()}
    engine.save(folder)
    dist.barrier()
    return {
        "weights": weights,
        "masters": masters,
        "reference": _saved_reference(folder),
        "metrics": metrics,
        "updates": updates,
        "mismatches": mismatches,
        "asleep": asleep,
        "compiler": "torch._dynamo" in sys.modules,
        "published": _published(engine),
        "listed": {name: tensor.detach().clone() for name, tensor in list(engine.parameters())},
        "refusal": _refusal(engine, folder / "nothing"),
        "not_finite": engine.not_finite(),
        "not_finite_on_one_rank": first_not_finite(
            [("first", torch.zeros(3)), ("second", _bad_on_the_last_rank())]
        ),
    }


def _sleep(engine: Any, looks: bool) -> list[int]:
    """Move what the engine holds elsewhere and back; on a CPU, from one place in memory to another.

    Returns the bytes that stayed, beside tensors that were there before the case; nothing unless it ``looks``.
    """
    moved = MovedStorages.move(tensor for tensor in held_tensors(engine) if tensor.device.type == "cpu")
    bytes_left = []
    if looks:
        bytes_left.append(held_for_good(_new_bytes) - moved.bytes)
    moved.move_back()
    return bytes_left


def _new_bytes() -> int:
    """Return the bytes in tensors that were made since objects were frozen last."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    return sum(s.nbytes() for s in distinct_storages(one for one in tensors if one.device.type == "cpu"))


def sampled_groups() -> list[TrajectoryGroup]:
    """A group that the weights at the start have sampled, as :data:`VERSION`, between two that others sampled.

    Its prompt is so long that no two canvases fit into the passes of a small ``batch_tokens``.
    """
    request = Request(tuple(2 + k % 17 for k in range(40)), NoiseKey(0, "noise-train", (0, 1, 0)))
    groups = [make_group(0, version=VERSION + 1), make_group(1, (0.0,)), make_group(2, version=VERSION - 3)]
    (done,) = DenoisingEngine(TorchDenoiser(tiny_policy(0).model)).run([request], groups[1].prompt.sampler)
    of_version = done.model_dump() | {"versions": (VERSION, VERSION)}
    rollout = Rollout(**of_version, sample=0, text="")
    assert groups[1].rollouts is not None
    sampled = {"prompt_ids": request.prompt_ids, "version": VERSION, "rollouts": (rollout,)}
    groups[1] = groups[1].model_copy(update={"rollouts": groups[1].rollouts.model_copy(update=sampled)})
    return groups


def _make_sgd(module: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD((p for p in module.parameters() if p.requires_grad), lr=config.learning_rate)


def _saved_reference(folder: Path) -> dict[str, torch.Tensor]:
    """The reference's weights in a checkpoint, whole: their parts side by side, without what fills up the last."""
    parts = [load_file(file) for file in sorted(folder.glob("reference*.safetensors"))]
    weights = dict(tiny_policy().named_parameters())
    found = {}
    for name in parts[0] if parts else ():
        flat = torch.cat([part[name].flatten() for part in parts])
        shape = weights[name].shape if name in weights else flat.shape  # of adapters
        found[name.removeprefix("model.")] = flat[: shape.numel()].view(shape)
    return found


def _published(engine: Any) -> dict[str, torch.Tensor]:
    model = tiny_policy().model
    layout = plan_layout(model.named_parameters(), model.held_types(torch.float32), bucket_bytes=4000)
    manifest = Manifest(1, layout)
    buckets = (bucket.clone() for bucket in fill_buckets(manifest, engine.parameters()))
    return dict(read_buckets(manifest, buckets))


def _bad_on_the_last_rank() -> torch.Tensor:
    import torch.distributed as dist

    return torch.tensor([0.0, math.nan if dist.get_rank() == dist.get_world_size() - 1 else 1.0])


def _refusal(engine: Any, folder: Path) -> str:
    try:
        engine.load(folder)
    except CheckpointError as error:
        return str(error)
    return "loaded"


def config_of(case: Case) -> LearnerConfig:
    return LearnerConfig.model_validate({**CONFIG.model_dump(), "zero_stage": case.zero_stage, **case.settings})


def _engine(case: Case, seed: int) -> Any:
    import learner.deepspeed_policy
    from learner.engine import Engine
    from learner.optimizer import make_optimizer
    from learner.preparation import prepare

    learner.deepspeed_policy.make_optimizer = _make_sgd if case.sgd else make_optimizer

    config = config_of(case)
    dtype = torch.bfloat16 if case.computes_bf16 else torch.float32
    policy = tiny_policy(seed, chunk_rows=case.chunk_rows, dtype=dtype)
    if case.computes_bf16:
        policy.model.bfloat16().float()  # a model as it is published, of bf16 weights
    prepare(policy.model, config, seed)
    return Engine(
        policy,
        make_estimator(config.estimator, config.inner_iterations),
        make_objective(config.objective),
        config,
        SEED,
        TOTAL_UPDATES,
    )
