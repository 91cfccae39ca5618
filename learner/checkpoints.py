"""Checkpoints: written aside, published by one rename, the newest named by ``latest``.

    step-000004          a complete checkpoint, with the digest of each of its files
    latest               names the one that the run goes on from, by its path if it lies elsewhere
    .step-000006.tmp     one that is being written
    .step-000002.old     one that is being removed or replaced

A process may be killed between any two lines here: ``latest_checkpoint`` still finds a complete one, and the next
checkpoint removes what the kill left behind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from safetensors import SafetensorError

from common.disk import disk_error, says_full, why_unwritable
from common.errors import UserError
from learner.digests import DIGESTS_FILE, find_damage, join_shares, write_share
from learner.disk import bytes_in, sync, sync_tree
from learner.resume_compatibility import Settings
from learner.retention import Retention

STATE_FILE = "state.json"
_LATEST = "latest"
_PREFIX = "step-"
#: With less than this on a disk after a failed write, the disk was full.
_LITTLE = 1 << 20


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that is missing, incomplete, from another kind of run, or cannot be written."""


class TrainingProgress(Protocol):
    """The counts of a run, a data class of plain values; every kind of run has its own."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def version(self) -> int:
        """Versions of the weights so far, which names the checkpoint."""


_Progress = TypeVar("_Progress", bound=TrainingProgress)


@dataclass(frozen=True)
class Ranks:
    """The processes that write a checkpoint together: this one's number, how many, and how they wait for all."""

    rank: int
    count: int
    barrier: Callable[[], None]


class Checkpoints:
    """The checkpoint folder of a run.

    Rank 0 publishes what all ranks have written. ``settings`` are kept in every checkpoint, for the run that
    resumes from it.
    """

    def __init__(self, folder: Path, retention: Retention, ranks: Ranks, settings: Settings) -> None:
        self._folder = folder
        self._retention = retention
        self._ranks = ranks
        self._leader = ranks.rank == 0
        self._settings = settings

    def save(self, progress: TrainingProgress, write: Callable[[Path], None]) -> None:
        """Save a checkpoint; ``write`` puts a rank's part into a folder, and every rank must call this.

        Raises :class:`CheckpointError`, with the checkpoints before it untouched, where it cannot be written.
        """
        ranks = self._ranks
        target = self._folder / _name(progress.version)
        temporary = self._folder / f".{target.name}.tmp"
        if self._leader:
            with self._failures_explained(temporary):
                self._make_room(temporary)
        ranks.barrier()
        with self._failures_explained(temporary):
            write(temporary)
            if self._leader:
                state = {"progress": asdict(progress), "settings": self._settings}
                (temporary / STATE_FILE).write_text(json.dumps(state, indent=2))
        ranks.barrier()
        with self._failures_explained(temporary):
            write_share(temporary, ranks.rank, ranks.count)
        ranks.barrier()
        if self._leader:
            with self._failures_explained(temporary):
                join_shares(temporary, ranks.count)
                sync_tree(temporary)
                self._publish(temporary, target)
        ranks.barrier()

    def _make_room(self, temporary: Path) -> None:
        """Make an empty folder to write into, on a disk that has room for what the last checkpoint took."""
        self._folder.mkdir(exist_ok=True)  # in the run's folder: where that is gone, nobody wants a new one
        for left_over in self._folder.glob(".step-*.tmp"):
            shutil.rmtree(left_over)
        needed, free = self._usual_bytes(), shutil.disk_usage(self._folder).free
        if free < needed:
            raise CheckpointError(self._no_room(temporary, f"{needed:,} bytes", free))
        temporary.mkdir()

    @contextmanager
    def _failures_explained(self, temporary: Path) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except (OSError, SafetensorError, RuntimeError) as error:
            self._explain(temporary, error)
            raise

    def _explain(self, temporary: Path, error: Exception) -> None:
        """Remove what there is of a checkpoint; raise CheckpointError where the disk kept it from being whole."""
        written, needed = bytes_in(temporary), self._usual_bytes()
        unwritable = why_unwritable(self._folder)
        free = shutil.disk_usage(self._folder).free if self._folder.exists() else _LITTLE
        shutil.rmtree(temporary, ignore_errors=True)  # the run's other files may lie on the same disk
        # torch tells of a full disk, and of a folder that is gone, by a RuntimeError that does not say so.
        takes_less = unwritable is None and free < max(needed - written, _LITTLE)
        if takes_less or says_full(error) or (unwritable is not None and says_full(unwritable)):
            amount = f"{needed:,} bytes" if needed else f"more than {written:,} bytes"
            raise CheckpointError(self._no_room(temporary, amount, free + written)) from error
        cause = error if isinstance(error, OSError) else unwritable
        if cause is not None:
            what = f"checkpoint {_written_name(temporary)}"
            raise CheckpointError(str(disk_error(what, self._folder, cause))) from error

    def _usual_bytes(self) -> int:
        """Return the bytes on disk of the last checkpoint; 0 before the first."""
        last = latest_checkpoint(self._folder)
        return bytes_in(last) if last is not None else 0

    def _no_room(self, temporary: Path, needed: str, free: int) -> str:
        last = latest_checkpoint(self._folder)
        kept = f"checkpoint {last.name} is whole" if last is not None else "there is no checkpoint before it"
        return (
            f"{self._folder}: no room for checkpoint {_written_name(temporary)}: it needs {needed} and the disk "
            f"has {free:,} free; make room and go on with --resume auto ({kept})"
        )

    def _publish(self, temporary: Path, target: Path) -> None:
        if target.exists():  # a run that was taken back to an earlier checkpoint makes this one again
            _retire(target)
        temporary.rename(target)
        sync(self._folder)
        _name_latest(self._folder, target.name)
        for surplus in self._surplus(target):
            _retire(surplus)
        for retired in self._folder.glob(".step-*.old"):
            shutil.rmtree(retired)

    def _surplus(self, newest: Path) -> list[Path]:
        """List the checkpoints beyond those to keep."""
        steps = {_step(path): path for path in self._folder.glob(f"{_PREFIX}*")}
        return [steps[step] for step in self._retention.surplus(list(steps), _step(newest))]


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint that ``latest`` names; without it, the newest.

    Raises :class:`CheckpointError` if ``latest`` names one outside ``folder`` that is gone.
    """
    pointer = folder / _LATEST
    if pointer.is_file():
        text = pointer.read_text(errors="replace").strip()
        named = folder / text
        is_checkpoint = named.name.startswith((_PREFIX, f".{_PREFIX}"))
        for candidate in (named, _retired(named)) if is_checkpoint else ():
            if candidate.is_dir():
                return candidate
        if is_checkpoint and Path(text).is_absolute():
            raise CheckpointError(f"{pointer}: names {named}, which is gone; bring it back, or remove {pointer}")
    return max(folder.glob(f"{_PREFIX}*"), default=None)


def kept_line(folder: Path) -> str:
    """Say, of a run that is ending, what there is to go on from."""
    try:
        last = latest_checkpoint(folder)
    except (CheckpointError, OSError) as error:
        return str(error)
    return saved_line(_step(last) if last is not None else 0)


def saved_line(version: int) -> str:
    """Say how to go on from the checkpoint of ``version``; 0 is none."""
    if not version:
        return "no step was done that a checkpoint could hold: start again"
    return f"checkpoint of step {version}; go on with --resume auto"


def checkpoint_before(folder: Path, version: int) -> Path | None:
    """Return the last checkpoint in ``folder`` of a version below ``version``, or None."""
    end = _name(version)
    return max((path for path in folder.glob(f"{_PREFIX}*") if path.name < end), default=None)


def find_checkpoint(named: Path) -> Path:
    """Return the checkpoint that a path means: it itself, or the latest of a folder of them, or of a run's folder.

    Raises :class:`CheckpointError`.
    """
    if not named.is_dir():
        raise CheckpointError(f"{named}: no such folder; give the path of a checkpoint or of a run folder")
    if any((named / file).exists() for file in (STATE_FILE, DIGESTS_FILE)):
        return named.resolve()
    found = latest_checkpoint(named / "checkpoints") or latest_checkpoint(named)
    if found is None:
        raise CheckpointError(
            f"{named}: holds no checkpoint; give the path of one, of a folder of them, or of a run folder"
        )
    return found.resolve()


def newest_whole(newest: Path) -> tuple[Path, list[str]]:
    """Return the newest checkpoint, up to ``newest``, whose files are as they were written.

    Beside it, a line for each later one that is damaged. Raises :class:`CheckpointError` where all of them are.
    """
    folder, lines = newest.parent, list[str]()
    last = _step(newest)
    for checkpoint in [newest, *(path for path in _newest_first(folder) if _step(path) < last)]:
        damage = find_damage(checkpoint)
        if damage is None:
            return checkpoint, lines
        lines.append(f"checkpoint {_plain_name(checkpoint)} is damaged: {damage}")
    raise CheckpointError(
        f"{folder}: no checkpoint is whole: {'; '.join(lines)}; bring one back, or start again in another "
        "run.folder"
    )


def require_whole(checkpoint: Path) -> None:
    """Raise :class:`CheckpointError` for a checkpoint with a file that is not as it was written."""
    damage = find_damage(checkpoint)
    if damage is None:
        return
    before = (path for path in _newest_first(checkpoint.parent) if _step(path) < _step(checkpoint))
    whole = next((path for path in before if find_damage(path) is None), None)
    remedy = f"take {whole}" if whole is not None else "bring it back; there is no checkpoint before it"
    raise CheckpointError(f"{checkpoint}: not a usable checkpoint: {damage}; {remedy}")


def adopt(folder: Path, checkpoint: Path) -> Path:
    """Make ``checkpoint``, which may lie elsewhere, the one that this folder's run goes on from; return its path.

    A learner that is restarted before its first own checkpoint then starts from this one again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = checkpoint.parent.resolve() == folder.resolve()
    if inside and checkpoint.suffix == ".old":  # killed between retiring it and publishing its successor
        checkpoint = checkpoint.rename(folder / _plain_name(checkpoint))
    _name_latest(folder, checkpoint.name if inside else str(checkpoint.resolve()))
    return checkpoint


def load_settings(checkpoint: Path) -> Settings:
    """Read the settings that a checkpoint was made with. Raises :class:`CheckpointError`."""
    with _state(checkpoint) as raw:
        return dict(raw["settings"])


def load_progress(checkpoint: Path, kind: type[_Progress]) -> _Progress:
    """Read the counts of a checkpoint of a run that counts in ``kind``. Raises :class:`CheckpointError`."""
    with _state(checkpoint) as raw:
        return kind(**raw["progress"])


@contextmanager
def _state(checkpoint: Path) -> Iterator[Any]:
    """Read what a checkpoint says of itself; say which one it is where the block finds it unusable."""
    try:
        yield json.loads((checkpoint / STATE_FILE).read_text())
    except KeyError as error:
        raise CheckpointError(
            f"{checkpoint}: not a usable checkpoint: {STATE_FILE} lacks {error}; another version made it"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: not a usable checkpoint: {error}") from error


def _name(version: int) -> str:
    return f"{_PREFIX}{version:06d}"


def _written_name(temporary: Path) -> str:
    return temporary.name.removeprefix(".").removesuffix(".tmp")


def _plain_name(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix(".").removesuffix(".old")


def _step(checkpoint: Path) -> int:
    digits = _plain_name(checkpoint).rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True)


def _retired(checkpoint: Path) -> Path:
    return checkpoint.with_name(f".{checkpoint.name}.old")


def _retire(checkpoint: Path) -> None:
    shutil.rmtree(_retired(checkpoint), ignore_errors=True)  # of an earlier time, when a kill kept it from going
    checkpoint.rename(_retired(checkpoint))


def _name_latest(folder: Path, name: str) -> None:
    temporary = folder / f".{_LATEST}.tmp"
    temporary.write_text(name)
    sync(temporary)
    temporary.replace(folder / _LATEST)
    sync(folder)
