"""One attempt at a run of any kind: its folder, the signals that stop it, and what it leaves behind."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.config import Config, StageConfig
from common.disk import DiskError, disk_error, says_full
from common.errors import UserError
from orchestrator.fleet.failure_log import failure_log
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.report.display import Display
from orchestrator.report.report_page import write_report
from orchestrator.run_folder import RunFolder
from orchestrator.run_recorder import RunOutput

#: Notes that the summary of a run repeats.
_NOTES = 5


def attempt(
    config: Config | StageConfig,
    resume: str,
    display: Display,
    work: Callable[[RunOutput, StopRequest], None],
    results: Callable[[RunOutput], dict[str, Any]],
) -> dict[str, Any]:
    """Do the work of a run in its folder, and return its summary, however the work ends.

    A new run whose input turns out to be unusable before its first step leaves no folder behind. ``results`` are
    what a run of this kind adds to the summary, from what it recorded. Raises what ``work`` raises, and DiskError
    where the folder cannot be written.
    """
    output = RunOutput(RunFolder.open(config, resume=resume != "never"), display)
    folder = output.folder
    started = time.monotonic()
    try:
        with StopRequest() as stop, failure_log(folder.path), _disk_errors(folder.path):
            (folder.path / "summary.json").unlink(missing_ok=True)  # of an earlier attempt: the run is going again
            work(output, stop)
    except BaseException as error:
        with suppress(DiskError):  # which would hide how the run ended
            if isinstance(error, UserError) and folder.made and not folder.holds_steps():
                folder.discard()  # else the next attempt, with its input mended, would have to resume this one
            else:
                stopped = isinstance(error, KeyboardInterrupt | Interrupted)
                _conclude(output, results, started, "interrupted" if stopped else "failed")
        raise
    return _conclude(output, results, started, "finished")


def _conclude(
    output: RunOutput, results: Callable[[RunOutput], dict[str, Any]], started: float, status: str
) -> dict[str, Any]:
    """Write the summary and the report of an attempt that has ended, and close its folder."""
    folder = output.folder
    with _disk_errors(folder.path):
        metrics = folder.records("metrics")
        seconds = {"total": time.monotonic() - started, **output.totals.seconds}
        summary = {
            "status": status,
            "updates": metrics[-1]["step"] if metrics else 0,
            **results(output),
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "notes": _notes(folder),
            "run_folder": str(folder.path),
        }
        folder.write_record("summary", summary)
        write_report(folder.path)
    folder.close()
    return summary


def _notes(folder: RunFolder) -> dict[str, Any]:
    """Return how many notes the run has left, and the first few."""
    texts = [record["text"] for record in folder.records("notes")]
    return {"count": len(texts), "first": texts[:_NOTES]}


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Raise DiskError where the block cannot write into a run's folder: every file there is a part of the run."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and folder.resolve() in Path(error.filename).resolve().parents:
            raise disk_error(Path(error.filename).name, folder, error) from error
        if says_full(error) or error.errno == errno.EROFS:
            raise disk_error("what the run records", folder, error) from error
        raise
