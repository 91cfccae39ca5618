"""The room that a run's checkpoints take on its disk, told before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.config import Config, ConfigError, StageConfig
from common.models.config import ModelConfig
from learner.checkpoint_size import checkpoint_bytes
from learner.retention import Retention


def room_sentence(config: Config | StageConfig, model: ModelConfig, steps: int | None) -> str:
    """Say how large a checkpoint is, and what those of a run of so many steps take, if they are known."""
    learner, steps_between = config.learner, config.learner.checkpoint_steps
    each, free = _bytes_of_one(config, model), _free(config.folder)
    kept = Retention(learner.keep_checkpoints, learner.keep_every_steps)
    most = kept.last if steps is None else kept.most(steps, steps_between)
    beyond = f", and those of every {kept.every} steps" if steps is None and kept.every else ""
    sentence = (
        f"{_amount(each)} each, one every {steps_between} steps; those kept ({most}{beyond}) and one being "
        f"written take {_amount((most + 1) * each)} in all"
    )
    if free is None:
        return sentence
    lacking = ", which is too little: make room, or keep fewer" if (most + 1) * each > free else ""
    return f"{sentence}; the disk of the run folder has {_amount(free)} free{lacking}"


def check_room(config: Config | StageConfig, model: ModelConfig) -> None:
    """Raise ConfigError where the disk of the run's folder has no room for a checkpoint."""
    each, free = _bytes_of_one(config, model), _free(config.folder)
    if free is not None and free < each:
        raise ConfigError(
            f"run.folder {config.folder}: its disk has {_amount(free)} free, and a checkpoint takes "
            f"{_amount(each)}; make room, or choose a folder on another disk"
        )


def _bytes_of_one(config: Config | StageConfig, model: ModelConfig) -> int:
    return checkpoint_bytes(model, config.learner, config.model.dtype == "bfloat16")


def _free(folder: Path) -> int | None:
    """Return the bytes that are free where a folder lies or will lie; None where that cannot be seen."""
    resolved = folder.resolve()
    there = next((path for path in (resolved, *resolved.parents) if path.exists()), None)
    return shutil.disk_usage(there).free if there is not None else None


def _amount(size: int) -> str:
    for unit, letters in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {letters}"
    return f"{size / 1e3:.0f} kB"
