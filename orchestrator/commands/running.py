"""A training run in the terminal: its display while it goes, and its summary at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from common.config import Config, StageConfig
from common.errors import UserError
from couplet_rl import hidden_room
from orchestrator.report.display_content import STAGE
from orchestrator.report.open_display import open_display
from orchestrator.report.stage_summary import stage_summary_view
from orchestrator.report.summary import summary_view
from orchestrator.run_folder import read_records


def run(config: Config, resume: str, plain: bool, as_json: bool) -> None:
    """Train, show the progress, and end with the summary; with ``as_json``, also as one line of JSON.

    Raises UserError, RunFailedError and Interrupted.
    """
    # torch, Ray and the actors' code: not for a help text, nor for settings that are refused.
    from orchestrator.train import train

    _check_rooms()
    console = Console()
    with open_display(console, plain) as display:
        summary = train(config, resume, display)
    before, after = _evaluations(config.folder)
    report = config.folder / "report.html"
    console.print(summary_view(before, after, summary, report) if after else f"report: {report}")
    if as_json:
        click.echo(json.dumps(summary))


def run_supervised(
    config: StageConfig, resume: str, plain: bool, as_json: bool, following: str | None = None
) -> None:
    """Do the same for a stage before reinforcement learning; ``following`` is the recipe of the next stage."""
    from orchestrator.stages.run import run_stage

    _check_rooms()
    console = Console()
    with open_display(console, plain, content=STAGE) as display:
        summary = run_stage(config, resume, display)
    before, after = _evaluations(config.folder)
    report = config.folder / "report.html"
    console.print(stage_summary_view(config.stage, before, after, summary, report, following))
    if as_json:
        click.echo(json.dumps(summary))


def _check_rooms() -> None:
    """Raise UserError where Ray would find another package than ours under the name of a room."""
    hidden = hidden_room([str(Path.cwd())])  # Ray puts this folder before all others on the path of the actors
    if hidden is not None:
        raise UserError(hidden)


def _evaluations(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the records of a run's first and last evaluation; the last is empty where there is only one."""
    records = read_records(folder, "evaluations")
    return (records[0] if records else {}), (records[-1] if len(records) > 1 else {})
