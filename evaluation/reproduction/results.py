"""What jobs found, in files: one for each job and seed, written when it is done."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from common.disk import write_text
from common.errors import UserError
from evaluation.reproduction.jobs import Job, Training


class Result(BaseModel):
    """The figures of a job with one seed, and of a training job its curve, a point for each step.

    ``overrides`` are the settings that it ran with, ``commit`` the code, ``seconds`` the wall time that it took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    seed: int
    overrides: tuple[str, ...]
    commit: str
    seconds: float
    figures: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()


#: Job -> seed -> its result.
Results = Mapping[str, Mapping[int, Result]]


class ResultFolder:
    """The results in a folder. A result is there whole or not at all, so that any moment is right for a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path / "results"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes out. Raises UserError where that is not possible."""
        folder = self._path.parent
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--output {folder}: another process works in it; wait, or name another") from error
        except OSError as error:
            raise UserError(f"--output {folder}: cannot be written: {error}; name another") from error
        with lock:
            yield

    def read(self, job: Job, seed: int) -> Result | None:
        """Return what a job found; None where it is not done.

        Raises UserError for a result of other settings, naming them, or of another release.
        """
        file = self._file(job, seed)
        if not file.exists():
            return None
        try:
            found = Result.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise UserError(
                f"{file}: is no result of this release; remove it, or name another --output"
            ) from error
        wanted = job.overrides(seed)
        if found.overrides != wanted:
            differing = sorted({*found.overrides} ^ {*wanted})
            raise UserError(
                f"{file}: was computed with other settings ({', '.join(differing)}); name another --output, or "
                "remove it"
            )
        return found

    def write(self, job: Job, seed: int, result: Result) -> None:
        """Write what a job found, in one step."""
        write_text(self._file(job, seed), result.model_dump_json(indent=1) + "\n")

    def weights(self, arm: Training, seed: int) -> Path:
        """Return where the weights of an arm lie, or are to lie: a model folder."""
        return self._path / f"{arm.name}-seed{seed}-model"

    def all(self, jobs: Sequence[Job], seeds: Sequence[int]) -> dict[str, dict[int, Result]]:
        """Read what is done of ``jobs``."""
        found: dict[str, dict[int, Result]] = {}
        for job in jobs:
            by_seed = {seed: self.read(job, seed) for seed in seeds}
            found[job.name] = {seed: result for seed, result in by_seed.items() if result is not None}
        return found

    def _file(self, job: Job, seed: int) -> Path:
        return self._path / f"{job.name}-seed{seed}.json"
