"""Small runs of the stages: their recipes, what they read, and what they end with when nothing disturbs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from common.config import Stage, StageConfig, load_stage_config
from common.models.folder import model_folder
from learner.stages.stage_rank import StageRank
from orchestrator.run_folder import RunFolder
from orchestrator.stages.preparation import prepare_stage
from tests.learner.rank_processes import run_ranks

STAGES: tuple[Stage, ...] = ("adapt", "pretrain", "sft")
STEPS = 8  # with a checkpoint every 2 steps, and an evaluation every 4
_CAUSAL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 448,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def write_recipes(folder: Path) -> None:
    """Write a recipe of each stage, and what they read, into ``folder``; a run's folder is to be added."""
    documents = [f"def f{n}(x):\n    return x * {n} + {n % 7}\n" * (1 + n % 5) for n in range(60)]
    examples = [{"prompt": f"Add {n} to x.", "answer": f"return x + {n}\n"} for n in range(40)]
    _write_lines(folder / "documents.jsonl", [{"text": text} for text in documents])
    _write_lines(folder / "examples.jsonl", examples)
    causal = folder / "causal"
    causal.mkdir()
    (causal / "config.json").write_text(json.dumps(_CAUSAL))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (causal / name).write_bytes((model_folder("builtin:quickstart") / name).read_bytes())
    for stage in STAGES:
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(_recipe(stage, folder)))


def _recipe(stage: Stage, folder: Path) -> dict[str, object]:
    model = {"path": str(folder / "causal"), "weights": "random"} if stage == "adapt" else {}
    objective = {
        "adapt": {"annealing_steps": 5, "truncate_share": 0.1, "prefix_share": 0.1},
        "pretrain": {},
        "sft": {"phase_in_epochs": 0.5, "pad_weight": 0.1},
    }
    data = {"sources": [str(folder / ("examples.jsonl" if stage == "sft" else "documents.jsonl"))]}
    return {
        "stage": stage,
        "run": {"name": f"tiny-{stage}", "steps": STEPS, "seed": 3},
        "model": {"path": "builtin:quickstart", "threads": 1, **model},
        "data": {
            **data,
            "context_length": 64,
            "long_documents": "drop" if stage == "sft" else "cut",
            "held_out_share": 0.1,
            "padding": "learned" if stage == "sft" else "none",
        },
        "objective": objective[stage],
        "learner": {
            "sequences_per_step": 4,
            "checkpoint_steps": 2,
            "batch_tokens": 128,
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1, "max_grad_norm": 1.0},
        },
        "evaluation": {"every_steps": 4, "sequences": 4},
        "ray": {"dashboard": False},
    }


def _write_lines(path: Path, records: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def stage_config(recipes: Path, stage: Stage, folder: Path, *overrides: str) -> StageConfig:
    return load_stage_config(recipes / f"{stage}.yaml", stage, [f"run.folder={folder}", *overrides])


def train_alone(configs: Sequence[StageConfig], stop_after: int = STEPS) -> None:
    """Do runs without Ray and without an orchestrator, in processes that are their ranks.

    A run goes on from the checkpoint of its folder, if there is one. Its end, or ``stop_after`` steps, leave a
    checkpoint and the exported weights. All runs must have as many ranks.
    """
    ranks = configs[0].learner.ranks
    run_ranks(ranks, _train_alone, (configs, stop_after), deadline=240.0)


def _train_alone(rank: int, configs: Sequence[StageConfig], stop_after: int) -> None:
    import torch.distributed as dist

    from learner.checkpoints import latest_checkpoint

    torch.set_num_threads(1)
    for config in configs:
        if rank == 0:
            RunFolder.open(config, resume=True).close()
            prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=False)
        dist.barrier()
        prepared = prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=True)
        one = StageRank(config, "alone", prepared.model, prepared.data, rank)
        version = one.start(("127.0.0.1", 0), latest_checkpoint(config.folder / "checkpoints"))
        while version < stop_after:
            one.step(checkpoint=False)
            version += 1
        one.checkpoint()
        one.export(config.folder / "model")
        dist.barrier()


def exported(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(folder / "model" / "model.safetensors")
    return weights
