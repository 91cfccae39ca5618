"""Runs the real engine of the stages, one process a rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.config import OptimizerConfig, StageConfig
from learner.stages.segments import Segment
from tests.learner.learner_tools import CONFIG, tiny_policy
from tests.learner.rank_processes import run_ranks
from tests.learner.stages.stage_tools import documents, examples, stage_config

TOTAL_STEPS = 12
#: One step of gradient descent at rate 1: weights then differ by the gradient, which AdamW would rescale.
SGD = {"learning_rate": 1.0, "max_grad_norm": 1e6, "schedule": "constant"}
ADAMW = {"learning_rate": 1e-3, "max_grad_norm": 2.0, "warmup_steps": 1}


@dataclass(frozen=True)
class Case:
    """Some steps from ``first`` on, on segments of ``kind``.

    ``objective`` and ``learner`` change the configuration's; ``epochs`` are the passes over the data before the
    first step. ``reload_after``: save after that step and go on in a fresh engine.
    """

    objective: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "documents"
    first: int = 0
    steps: int = 1
    epochs: float = 0.0
    shift: bool = True
    sgd: bool = True
    learner: Mapping[str, Any] = field(default_factory=dict)
    chunk_rows: int = 1000
    reload_after: int | None = None

    @property
    def config(self) -> StageConfig:
        optimizer = SGD if self.sgd else ADAMW
        stage = "sft" if self.kind in ("examples", "padded") else "adapt"
        return stage_config(stage, objective=self.objective, learner={"optimizer": optimizer, **self.learner})

    def segments(self, step: int) -> list[Segment]:
        match self.kind:
            case "documents":
                return documents(step)
            case "one":
                return documents(step, (13,))
            case "single tokens":
                return documents(step, (1, 1))
            case kind:
                return examples(step, padding=kind == "padded")

    def epochs_at(self, step: int) -> float:
        return self.epochs + 0.25 * (step - self.first)


def run_cases(world: int, cases: Mapping[str, Case], folder: Path, deadline: float = 250.0) -> dict[str, Any]:
    """Run the cases one after another in ``world`` processes; name -> what rank 0 found."""
    folder.mkdir()
    run_ranks(world, _run_all, (cases, folder), deadline)
    return {name: torch.load(folder / f"{name}.pt") for name in cases}


def _run_all(rank: int, cases: Mapping[str, Case], folder: Path) -> None:
    for name, case in cases.items():
        found = _run(case, folder / name)
        if rank == 0:
            torch.save(found, folder / f"{name}.pt")


def _run(case: Case, folder: Path) -> dict[str, Any]:
    import torch.distributed as dist

    engine = _engine(case, seed=0)
    held_out = case.segments(100)
    before = engine.evaluate(held_out)
    metrics = []
    for step in range(case.first, case.first + case.steps):
        metrics.append(engine.train(case.segments(step), step, case.epochs_at(step)))
        if step == case.reload_after:
            engine.save(folder)
            dist.barrier()
            engine = _engine(case, seed=99)
            engine.load(folder)
    return {
        "before": before,
        "metrics": metrics,
        "after": engine.evaluate(held_out),
        "weights": {name: tensor.detach().clone() for name, tensor in engine.parameters()},
    }


def _engine(case: Case, seed: int) -> Any:
    import learner.deepspeed_policy
    from learner.optimizer import make_optimizer
    from learner.preparation import prepare
    from learner.stages.engine import StageEngine

    learner.deepspeed_policy.make_optimizer = _make_sgd if case.sgd else make_optimizer
    config = case.config
    policy = tiny_policy(seed, CONFIG.model_copy(update={"shift": case.shift}), case.chunk_rows)
    prepare(policy.model, config.learner, seed)
    return StageEngine(policy, config, TOTAL_STEPS)


def _make_sgd(module: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD((p for p in module.parameters() if p.requires_grad), lr=config.learning_rate)
