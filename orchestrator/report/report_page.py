"""The report of one run of either kind: an HTML file that loads nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.report.notes import read_notes
from orchestrator.report.page import write_page
from orchestrator.report.panels import window
from orchestrator.report.recorded_run import RecordedRun, read_run
from orchestrator.report.run_page import run_view
from orchestrator.report.stage_page import stage_view


def write_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return its path: ``report.html`` in the folder, or ``path``.

    Raises OSError.
    """
    return write_report_of(read_run(run_folder), path or run_folder / "report.html")


def write_report_of(run: RecordedRun, path: Path) -> Path:
    """Write the report of a run as it was read. Raises OSError."""
    template, view = ("stage_report.html", stage_view) if run.stage else ("report.html", run_view)
    return write_page(template, {**_shared(run), **view(run)}, path)


def _shared(run: RecordedRun) -> dict[str, Any]:
    notes, left_out = read_notes(run.folder)
    return {
        "name": run.name,
        "run": run.run,
        "status": run.status,
        "summary": run.summary,
        "damage": run.damage,
        "written": datetime.now().astimezone().isoformat(" ", "seconds"),
        "updates": run.steps_recorded,
        "planned": run.steps_planned,
        "window": window(len(run.metrics)),
        "notes": notes,
        "notes_left_out": left_out,
        "config": run.config_text,
    }
