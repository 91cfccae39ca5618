"""Resuming a run: find a whole checkpoint, check that this run may continue it, and rewind its streams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.config import Config, ConfigError, StageConfig
from common.streams import Streams
from learner.checkpoints import (
    CheckpointError,
    find_checkpoint,
    latest_checkpoint,
    load_progress,
    load_settings,
    newest_whole,
    require_whole,
)
from learner.progress import Progress
from learner.resume_compatibility import changes
from learner.source import CHECKPOINTED


def checkpoint_to_resume(config: Config | StageConfig, resume: str, notes: list[str]) -> Path | None:
    """Return the checkpoint that ``--resume`` means, None for a fresh start.

    ``resume`` is ``auto`` (the latest of the run's folder, if there is one), ``never``, or the path of a
    checkpoint, of a folder of them, or of a run folder. Where the latest of a folder is damaged, the one before is
    taken, and a line about it added to ``notes``; so are the settings that differ from those of the checkpoint.
    Raises ConfigError for one that is not there, cannot be read, or was made with settings that this run does not
    share.
    """
    if resume == "never":
        return None
    try:
        newest = _find(config, resume)
        if newest is None:
            return None
        if Path(resume).resolve() == newest:
            require_whole(newest)
            checkpoint = newest
        else:
            checkpoint, damaged = newest_whole(newest)
            notes += [f"{line}; going on from {checkpoint.name}" for line in damaged]
        notes += _changed_settings(checkpoint, config)
    except CheckpointError as error:
        raise ConfigError(f"--resume {resume}: {error}") from error
    return checkpoint


def rewind_streams(streams: Streams, checkpoint: Path) -> None:
    """Empty the streams if they lack groups that ``checkpoint`` has not consumed; all of those are admitted again.

    They lack some for every checkpoint but the run's last one.
    """
    if load_progress(checkpoint, Progress).consumed < streams.counters().get(CHECKPOINTED, 0):
        streams.empty()


def _find(config: Config | StageConfig, resume: str) -> Path | None:
    if resume == "auto":
        found = latest_checkpoint(config.folder / "checkpoints")
        return found.resolve() if found is not None else None
    named = Path(resume)
    if not named.is_dir():
        raise CheckpointError(
            "not a usable checkpoint: no such folder; give auto, never, or the path of a checkpoint or run folder"
        )
    return find_checkpoint(named)


def _changed_settings(checkpoint: Path, config: Config | StageConfig) -> list[str]:
    """Return a line about settings that differ and may. Raises CheckpointError that names those that may not."""
    found = changes(load_settings(checkpoint), config)
    if "stage" in found.binding:
        commands = [f"couplet {stage or 'train'}" for stage in found.binding["stage"]]
        raise CheckpointError(
            f"checkpoint {checkpoint.name} is one of `{commands[0]}`, and this is `{commands[1]}`; start from the "
            "weights that the other run exported (model.path=FOLDER/model)"
        )
    if found.binding:
        theirs, ours = (_listed({name: pair[i] for name, pair in found.binding.items()}) for i in (0, 1))
        raise CheckpointError(
            f"checkpoint {checkpoint.name} was made with {theirs}; this run has {ours}; "
            "set them back, or start another run from weights that this one exported "
            "(run.folder=ANOTHER model.path=FOLDER/model)"
        )
    changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in found.free.items())
    return [f"settings changed since {checkpoint.name}: {changed}"] if changed else []


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
