"""Checkpoints: written aside, published by one rename, the newest named by ``latest``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from learner.collector import Progress

_STATE = "state.json"
_LATEST = "latest"


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, incomplete, or from another kind of run."""


class Checkpoints:
    """The checkpoint folder of a run.

    ``barrier`` makes all ranks wait for each other; rank 0 (``leader``) publishes.
    """

    def __init__(self, folder: Path, keep: int, leader: bool, barrier: Callable[[], None]) -> None:
        self._folder = folder
        self._keep = keep
        self._leader = leader
        self._barrier = barrier

    def save(self, progress: Progress, write: Callable[[Path], None]) -> None:
        """``write`` puts a rank's part into a folder; every rank must call this."""
        target = self._folder / f"step-{progress.version:06d}"
        temporary = self._folder / f".{target.name}.tmp"
        if self._leader:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self._barrier()
        write(temporary)
        self._barrier()
        if self._leader:
            (temporary / _STATE).write_text(json.dumps(asdict(progress)))
            _sync_tree(temporary)
            retired = self._folder / f".{target.name}.old"
            if target.exists():  # a restarted learner saves a version again
                target.rename(retired)
            temporary.rename(target)
            shutil.rmtree(retired, ignore_errors=True)
            _replace_text(self._folder / _LATEST, target.name)
            self._prune(target)
        self._barrier()

    def _prune(self, newest: Path) -> None:
        """Remove the oldest; ``newest`` stays even where an earlier life of the run had got further."""
        others = sorted(set(self._folder.glob("step-*")) - {newest})
        for old in others[: max(0, len(others) + 1 - self._keep)]:
            shutil.rmtree(old)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that ``latest`` names; without it, the newest complete one."""
    pointer = folder / _LATEST
    named = folder / pointer.read_text().strip() if pointer.is_file() else None
    if named is not None and named.is_dir():
        return named
    return max(folder.glob("step-*"), default=None)


def load_progress(checkpoint: Path) -> Progress:
    """The counts of a checkpoint. Raises :class:`CheckpointError`."""
    try:
        return Progress(**json.loads((checkpoint / _STATE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: not a usable checkpoint: {error}") from error


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
