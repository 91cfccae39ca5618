"""Measures what the real engine's ranks hold at the moments of an update."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from common.config import LearnerConfig, OptimizerConfig
from common.likelihood.registry import make_estimator
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from learner import memory
from learner.objectives.registry import make_objective
from learner.policy import Policy
from learner.samples import TrainingSample
from tests.learner.rank_processes import held_for_good, run_ranks

RANKS = 2
CHECKPOINT = "checkpoint"
PROMPT, COMPLETION = 60, 100
#: Large enough that some parameters are partitioned by ZeRO-3, and that little else is as large as the model.
MODEL = ModelConfig(
    vocab_size=3000,
    hidden_size=192,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    rope_theta=10_000.0,
    tie_word_embeddings=False,
    mask_token_id=0,
    eos_token_id=1,
    pad_token_id=1,
)
SETTINGS: dict[str, Any] = {
    "ranks": RANKS,
    "inner_iterations": 1,
    "batch_tokens": 3 * (PROMPT + COMPLETION),
    "logits_mb": 1,
    "gradient_checkpointing": True,
    "reference_sync_steps": 64,
    "optimizer": OptimizerConfig(learning_rate=1e-4).model_dump(),
}


@dataclass(frozen=True)
class Case:
    """Settings of the learner whose ranks are measured."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> LearnerConfig:
        return LearnerConfig.model_validate({**SETTINGS, **self.settings})

    @property
    def bf16(self) -> bool:
        return self.config.weights_dtype == "bfloat16"


def measure(cases: Sequence[Case], folder: Path) -> dict[str, dict[str, int]]:
    """Return, by case and moment, the bytes of the tensors that rank 0 has made and that are alive.

    Those of a :data:`CHECKPOINT` are of its files.
    """
    run_ranks(RANKS, _measure_all, (cases, folder), 300.0)
    return {case.name: json.loads((folder / f"{case.name}.json").read_text()) for case in cases}


def _measure_all(rank: int, cases: Sequence[Case], folder: Path) -> None:
    for case in cases:
        # What is there already, earlier engines among it, is not looked at again.
        gc.collect()
        gc.freeze()
        saved = folder / f"{case.name}-checkpoint"
        saved.mkdir(exist_ok=True)
        found = _measure(case, watched=rank == 0, saved=saved)
        if rank == 0:
            (folder / f"{case.name}.json").write_text(json.dumps(found))


def _measure(case: Case, watched: bool, saved: Path) -> dict[str, int]:
    import learner.engine
    from learner.collectives import MetricAccumulator
    from learner.engine import Engine
    from learner.preparation import prepare

    found: dict[str, int] = {}
    # What autograd alone holds is no object of Python's.
    kept: list[torch.Tensor] = []

    def note(moment: str) -> None:
        if watched:
            found[moment] = held_for_good(lambda: sum(_storages(kept).values()))
        kept.clear()

    def save(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    class Watched(MetricAccumulator):
        """Notes what is held when the optimizer's phase begins and ends."""

        @contextmanager
        def phase(self, name: str) -> Iterator[None]:
            with super().phase(name):
                if name == "seconds/optimizer":
                    note(memory.GRADIENTS)
                yield
                if name == "seconds/optimizer":
                    note(memory.STEPPED)

    learner.engine.MetricAccumulator = Watched  # type: ignore[misc]
    engine = _engine(case.config, case.bf16, Engine, prepare, note)
    note(memory.START)
    engine.train(_samples(0), 0)  # from then on the optimizer has its averages
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        engine.train(_samples(1), 1)
    engine.save(saved)
    torch.distributed.barrier()
    found[CHECKPOINT] = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
    return found


def _engine(
    config: LearnerConfig,
    bf16: bool,
    make: Callable[..., Any],
    prepare: Callable[..., None],
    note: Callable[[str], None],
) -> Any:
    model = MaskedDiffusionModel(MODEL)
    initialize(model, torch.Generator().manual_seed(0))
    prepare(model, config, 0)
    policy = Policy(model, torch.bfloat16 if bf16 else torch.float32, config.logits_bytes)
    estimator = make_estimator(config.estimator, config.inner_iterations)
    engine = make(policy, estimator, make_objective(config.objective), config, 0, 10)

    def at_end_of_pass(*_: object) -> None:
        if torch.is_grad_enabled():
            note(memory.FORWARD)

    policy.register_forward_hook(at_end_of_pass)
    return engine


def _samples(step: int) -> list[TrainingSample]:
    """Two micro-batches of one sample for each rank."""
    return [
        TrainingSample(
            group=step,
            sample=number,
            prompt_ids=(2,) * PROMPT,
            completion_ids=tuple(2 + (number + k) % 100 for k in range(COMPLETION)),
            valid_tokens=COMPLETION,
            reward=float(number),
            advantage=(-1.0) ** number,
        )
        for number in range(2 * RANKS)
    ]


def _storages(beside: Iterable[torch.Tensor] = ()) -> dict[int, int]:
    """Return the bytes of the storage of every tensor, and of those ``beside`` them, by its address."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if issubclass(type(found), torch.Tensor)]
    gradients = [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    storages = (t.untyped_storage() for t in chain(tensors, gradients, beside) if t.device.type == "cpu")
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
