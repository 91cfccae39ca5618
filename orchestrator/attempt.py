"""One attempt at a run of any kind: its folder, the signals that stop it, and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from common.config import Config, StageConfig
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

    A new run whose input turns out to be unusable before its first step leaves no folder behind.
    ``results`` are what a run of this kind adds to the summary, from what it recorded.
    """
    output = RunOutput(RunFolder.open(config, resume=resume != "never"), display)
    folder = output.folder
    (folder.path / "summary.json").unlink(missing_ok=True)  # of an earlier attempt: the run is going again
    started = time.monotonic()
    status, refused = "failed", False
    try:
        with StopRequest() as stop, failure_log(folder.path):
            work(output, stop)
            status = "finished"
    except (KeyboardInterrupt, Interrupted):
        status = "interrupted"
        raise
    except UserError:
        refused = True
        raise
    finally:
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
        if refused and folder.made and not metrics:
            folder.discard()  # else the next attempt, with its input mended, would have to resume this one
        else:
            folder.write_record("summary", summary)
            write_report(folder.path)
            folder.close()
    return summary


def _notes(folder: RunFolder) -> dict[str, Any]:
    """Return how many notes the run has left, and the first few."""
    texts = [record["text"] for record in folder.records("notes")]
    return {"count": len(texts), "first": texts[:_NOTES]}
