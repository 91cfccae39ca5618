"""An update of the learner on one GPU: its phases beside the peak of products, its memory beside arithmetic."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch._C._distributed_c10d import HashStore  # torch.distributed's, with its type

from benchmarks.measure import seconds
from benchmarks.update_sides import random_group
from common.config import Config
from common.likelihood.registry import make_estimator
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from learner import process_group
from learner.memory import BACKWARD, START, STEPPED, largest_micro_batch, learner_memory
from learner.objectives.registry import make_objective
from learner.policy import Policy
from learner.preparation import prepare
from orchestrator.planning.computed import update_work

_GIB = 2**30
_TIMEOUT = timedelta(minutes=5)
#: Updates that no time is taken of: the first makes the optimizer's averages, or compiles.
_WARM_UP = 1


@dataclass(frozen=True)
class Update:
    """One group of ``group`` completions of ``completion`` tokens to a prompt of ``prompt``, so many times."""

    prompt: int
    completion: int
    group: int
    repeats: int

    def config(self, on_gpu: bool, compiled: bool) -> Config:
        """Return a run of one rank that computes as the recipes of 7 billion parameters do, in fp32 on a CPU."""
        learner: dict[str, Any] = {"groups_per_step": 1, "compile": compiled, "gradient_checkpointing": True}
        if on_gpu:
            learner |= {"gpus_per_rank": 1, "zero_stage": 1, "weights_dtype": "bfloat16"}
        return Config.model_validate(
            {
                "model": {"path": "builtin:quickstart", "dtype": "bfloat16" if on_gpu else "float32"},
                "data": {"source": "synthetic", "max_prompt_tokens": self.prompt},
                "rollout": {
                    "completion_length": self.completion,
                    "denoising_steps": self.completion,
                    "group_size": self.group,
                },
                "learner": learner,
            }
        )


def measure(device: torch.device, model: ModelConfig, asked: Update, peak: float) -> dict[str, float]:
    """Update a random model, on a GPU with compiled feed-forward blocks as well; return findings by their labels.

    ``peak``: operations a second of a large product on this device.
    """
    on_gpu = device.type == "cuda"
    process_group.join(HashStore, rank=0, ranks=1, gpus=on_gpu, timeout=_TIMEOUT)
    found: dict[str, float] = {}
    for name, compiled in (("update", False), *([("compiled update", True)] if on_gpu else [])):
        rows = _measure(device, model, asked, peak, compiled)
        found |= {f"{name}: {label}": value for label, value in rows.items()}
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
    return found


def _measure(
    device: torch.device, model: ModelConfig, asked: Update, peak: float, compiled: bool
) -> dict[str, float]:
    from learner.engine import Engine  # DeepSpeed: once the process group is there

    config = asked.config(device.type == "cuda", compiled)
    learner, bf16 = config.learner, config.model.dtype == "bfloat16"
    before = _allocated(device)
    with torch.device(device):
        policy_model = MaskedDiffusionModel(model)
    initialize(policy_model, torch.Generator(device).manual_seed(0))
    prepare(policy_model, learner, 0)
    policy = Policy(policy_model, torch.bfloat16 if bf16 else torch.float32, learner.logits_bytes)
    estimator = make_estimator(learner.estimator, learner.inner_iterations)
    engine = Engine(policy, estimator, make_objective(learner.objective), learner, 0, _WARM_UP + asked.repeats)
    samples = random_group(model.vocab_size, asked.group, asked.prompt, asked.completion)
    held = {START: _allocated(device) - before}
    times, phases = [], []
    for number in range(_WARM_UP + asked.repeats):
        _reset_peak(device)
        update = partial(engine.train, samples, number * learner.inner_iterations)
        times.append(seconds(lambda: phases.append(update().metrics), device))  # noqa: B023 - called at once
    held |= {STEPPED: _allocated(device) - before, BACKWARD: _peak(device) - before}
    taken = statistics.median(times[_WARM_UP:])
    found = {
        "s": taken,
        "share of peak": update_work(config, model).operations / taken / peak,
    }
    for phase in (key for key in phases[-1] if key.startswith("seconds/")):
        label = f"{phase.removeprefix('seconds/').replace('_', ' ')}, s"
        found[label] = statistics.median(one[phase] for one in phases[_WARM_UP:])
    batch = largest_micro_batch(learner, asked.prompt, asked.completion, asked.group)
    estimate = learner_memory(model, learner, bf16, batch, on_gpu=device.type == "cuda")
    for moment, reckoned in ((START, estimate.at(START)), (STEPPED, estimate.at(STEPPED)), estimate.peak):
        found[f"memory at {moment} by arithmetic, GiB"] = reckoned / _GIB
    if device.type == "cuda":
        labels = {START: f"memory at {START}", STEPPED: f"memory at {STEPPED}", BACKWARD: "peak of memory"}
        found |= {f"{labels[moment]}, GiB": size / _GIB for moment, size in held.items()}
    return found


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
