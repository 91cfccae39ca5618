"""Resume compatibility: settings that a run shares with the checkpoint that it resumes, or has otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    "learner.keep_every_steps",
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

#: Not kept in checkpoints: where a run lies, how it reaches its Redis, which may be a secret, and its length in
#: another unit than steps.
_UNRECORDED = ("run.folder", "run.epochs", "streams.url")

#: Values of configuration fields by dotted name, as JSON holds them.
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Changes:
    """Settings of a checkpoint that a run has otherwise: name -> (then, now); None for a field that one lacks.

    ``binding`` are those without which the checkpoint cannot be resumed, ``free`` all others.
    """

    binding: Mapping[str, tuple[Any, Any]]
    free: Mapping[str, tuple[Any, Any]]


def recorded_settings(config: Config | StageConfig) -> Settings:
    """Return the settings that a checkpoint of this run keeps, for :func:`changes`."""
    leaves = _leaves(config.model_dump(mode="json"))
    return {name: value for name, value in leaves if not _within(name, _UNRECORDED)}


def changes(made_with: Settings, config: Config | StageConfig) -> Changes:
    """Compare the settings of a checkpoint with those of the run that is to resume it.

    A field that only one of the two versions of Couplet knows is a change where it is binding.
    """
    present = recorded_settings(config)
    free_names: tuple[str, ...] = _FREE
    if isinstance(config, StageConfig) and not config.learner.zero_stage:
        free_names = (*_FREE, "learner.ranks")  # all of them hold all that a checkpoint has
    binding, free = {}, {}
    for name in sorted({*made_with, *present}):
        then, now = made_with.get(name), present.get(name)
        if then == now or (name == "run.steps" and now is None):  # not computed yet
            continue
        if _within(name, _BINDING) and not _within(name, free_names):
            binding[name] = (then, now)
        elif name in made_with and name in present:
            free[name] = (then, now)
    return Changes(binding, free)


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _within(name: str, names: tuple[str, ...]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)
