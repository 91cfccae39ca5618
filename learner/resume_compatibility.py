"""Resume compatibility: the settings that a run shares with the checkpoint that it resumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from common.config import Config, StageConfig

#: Sections and fields that say what the state of a checkpoint is, and what its random numbers and counts mean.
_BINDING = (
    "stage",
    "run.seed",
    "model.path",
    "model.dtype",
    "model.weights",
    "model.mask_token",
    "model.pad_token",
    "data",
    "objective",
    "learner",
)
#: Parts of them that a resumed run may change: what paces, places or measures, and what every step reads anew.
_FREE = (
    "data.held_out",
    "data.held_out_tasks",
    "data.metadata",
    "data.cache",
    "learner.preset",  # only another way to write other fields
    "learner.gpus_per_rank",
    "learner.ray_resource",
    "learner.batch_tokens",
    "learner.logits_mb",
    "learner.gradient_checkpointing",
    "learner.compile",
    "learner.deterministic",
    "learner.checkpoint_steps",
    "learner.keep_checkpoints",
    "learner.mismatch_steps",
    "learner.bucket_mb",
    "learner.weights_transport",
    "learner.peak_tflops",
    "learner.optimizer.learning_rate",
    "learner.optimizer.warmup_steps",
    "learner.optimizer.schedule",
    "learner.optimizer.final_share",
    "learner.optimizer.max_grad_norm",
)

#: Values of configuration fields by dotted name, as JSON holds them.
BindingSettings = Mapping[str, Any]


def binding_settings(config: Config | StageConfig) -> BindingSettings:
    """Return the settings without which a checkpoint of this run cannot be resumed."""
    free: tuple[str, ...] = _FREE
    if isinstance(config, StageConfig) and not config.learner.zero_stage:
        free = (*free, "learner.ranks")  # all of them hold all that a checkpoint has
    return {
        name: value
        for name, value in _leaves(config.model_dump(mode="json"))
        if _within(name, _BINDING) and not _within(name, free)
    }


def differences(made_with: BindingSettings, present: BindingSettings) -> tuple[BindingSettings, BindingSettings]:
    """Return the settings that differ, once with the values of each; None for a field that one lacks."""
    names = sorted(name for name in {*made_with, *present} if made_with.get(name) != present.get(name))
    return {name: made_with.get(name) for name in names}, {name: present.get(name) for name in names}


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _within(name: str, names: tuple[str, ...]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)
