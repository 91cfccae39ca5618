"""Everything a run produces lies in one folder."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

from common.config import Config, ConfigError, StageConfig, dump_config
from common.disk import append_line, write_text, writing

_Tree = TypeVar("_Tree", Config, StageConfig)
_VERSIONS_OF = ("couplet-rl", "torch", "ray", "deepspeed", "transformers", "redis")


class RunFolder:
    """A run's folder, locked until :meth:`close`. ``made``: whether opening it made it.

    What writes into it raises DiskError where that is not possible, and leaves nothing half-written.
    """

    def __init__(self, path: Path, run_id: str, lock: IO[str], made: bool) -> None:
        self.path = path
        self.run_id = run_id
        self.made = made
        self._lock = lock

    @classmethod
    def open(cls, config: Config | StageConfig, resume: bool) -> RunFolder:
        """Make the folder, or open it again with ``resume``. Raises ConfigError where that is not possible.

        A folder in which a run did not come to its first step is taken for a new one.
        """
        path = config.folder
        _refuse_what_will_vanish(path)
        identity = path / "run.json"
        if identity.exists() and not resume and _holds_steps(path):
            raise ConfigError(
                f"run folder {path} holds a run already; continue it with --resume auto, "
                "or choose another run.name or run.folder"
            )
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / "lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"run folder {path} is in use by another process") from error
        except OSError as error:
            raise ConfigError(f"run folder {path} cannot be written: {error}") from error
        if identity.exists() and resume:
            run_id = _read_run_id(identity)
            if config.run.id not in (None, run_id):
                lock.close()
                raise ConfigError(
                    f"run.id {config.run.id}: run folder {path} holds run {run_id}; leave run.id out, or choose "
                    "another run.folder"
                )
        else:
            run_id = config.run.id or f"{config.run.name}-{uuid4().hex[:8]}"
            record = {
                "run_id": run_id,
                "name": config.run.name,
                "about": config.run.about,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "code": str(Path(__file__).parents[1]),
                "versions": {name: _version(name) for name in _VERSIONS_OF},
            }
            with writing(identity.name, path):
                write_text(identity, json.dumps(record, indent=2) + "\n")
        folder = cls(path, run_id, lock, made)
        folder.write_config(config)
        return folder

    def holds_steps(self) -> bool:
        """Tell whether a run has come to its first step, or to a checkpoint, in this folder."""
        return _holds_steps(self.path)

    def write_config(self, config: Config | StageConfig) -> None:
        """Write the configuration as it is resolved now."""
        self._write("config.yaml", dump_config(config))

    def write_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Write ``<name>.json``."""
        self._write(f"{name}.json", json.dumps(record, indent=2) + "\n")

    def located(self, config: _Tree) -> _Tree:
        """Return the configuration with the folder's absolute path, as actors need it that run elsewhere."""
        run = config.run.model_copy(update={"folder": self.path.resolve()})
        return config.model_copy(update={"run": run})

    def write_secret(self, name: str, text: str) -> None:
        """Write a file that only its owner can read."""
        path = self.path / name
        with writing(name, self.path):
            path.touch(mode=0o600)
            path.write_text(text + "\n")

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to ``<name>.jsonl``, or nothing of it: then it raises DiskError."""
        file = self.path / f"{name}.jsonl"
        with writing(file.name, self.path):
            append_line(file, json.dumps(record))

    def rewind(self, step: int) -> None:
        """Forget what was recorded of steps after ``step``, which a resumed run will do again."""
        for file in (self.path / f"{name}.jsonl" for name in ("metrics", "samples", "groups", "evaluations")):
            if file.exists():
                with writing(file.name, self.path):
                    records = [r for r in self.records(file.stem) if r["step"] <= step]
                    write_text(file, "".join(json.dumps(r) + "\n" for r in records))

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of ``<name>.jsonl``."""
        return read_records(self.path, name)

    def close(self) -> None:
        self._lock.close()

    def discard(self) -> None:
        """Close the folder and remove it, with all in it that can be removed."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self, name: str, text: str) -> None:
        with writing(name, self.path):
            write_text(self.path / name, text)


def _holds_steps(path: Path) -> bool:
    """Tell whether a run has come so far in a folder that it is to be resumed, not started again."""
    metrics, checkpoints = path / "metrics.jsonl", path / "checkpoints"
    return any(checkpoints.glob("[!.]*")) or (metrics.exists() and metrics.stat().st_size > 0)


def _refuse_what_will_vanish(path: Path) -> None:
    """Refuse a folder in a job's working directory, a copy that Ray removes some time after the job."""
    parts = path.resolve().parts
    if ("runtime_resources", "working_dir_files") in pairwise(parts):
        raise ConfigError(
            f"run folder {path} lies in the job's copy of its working directory, which Ray removes; set "
            "run.folder to an absolute path on a disk that all machines of the run share, such as "
            f"run.folder=/shared/runs/{path.name}"
        )


def _version(package: str) -> str | None:
    """Return None for what is not installed, as our own package where a job brings its code along."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read_run_id(identity: Path) -> str:
    try:
        return str(json.loads(identity.read_text())["run_id"])
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{identity} is damaged ({error}); start in another run folder") from error


def read_records(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the lines of ``<name>.jsonl``; a torn last line is left out."""
    file = folder / f"{name}.jsonl"
    records = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
