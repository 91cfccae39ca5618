"""Resuming a run: find its checkpoint, check that this run may continue it, and rewind its streams."""

from __future__ import annotations

from pathlib import Path

from common.config import Config, ConfigError, StageConfig
from common.streams import Streams
from learner.checkpoints import CheckpointError, find_checkpoint, latest_checkpoint, load_progress, load_settings
from learner.progress import Progress
from learner.resume_compatibility import BindingSettings, binding_settings, differences
from learner.source import CHECKPOINTED


def checkpoint_to_resume(config: Config | StageConfig, resume: str) -> Path | None:
    """Return the checkpoint that ``--resume`` means, None for a fresh start.

    ``resume`` is ``auto`` (the latest of the run's folder, if there is one), ``never``, or the path of a
    checkpoint, of a folder of them, or of a run folder. Raises ConfigError for one that is not there, cannot be
    read, or was made with settings that this run does not share.
    """
    if resume == "never":
        return None
    try:
        checkpoint = _find(config, resume)
        if checkpoint is not None:
            _check_settings(checkpoint, load_settings(checkpoint), binding_settings(config))
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


def _check_settings(checkpoint: Path, made_with: BindingSettings, present: BindingSettings) -> None:
    """Raise CheckpointError that names every setting that differs."""
    theirs, ours = differences(made_with, present)
    if "stage" in theirs:
        commands = [f"couplet {settings['stage'] or 'train'}" for settings in (theirs, ours)]
        raise CheckpointError(
            f"checkpoint {checkpoint.name} is one of `{commands[0]}`, and this is `{commands[1]}`; start from the "
            "weights that the other run exported (model.path=FOLDER/model)"
        )
    if theirs:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} was made with {_listed(theirs)}; this run has {_listed(ours)}; "
            "set them back, or start another run from weights that this one exported "
            "(run.folder=ANOTHER model.path=FOLDER/model)"
        )


def _listed(settings: BindingSettings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
