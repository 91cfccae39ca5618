"""A training run in the terminal: its display while it goes, and its summary at the end."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from common.config import Config
from common.errors import UserError
from couplet_rl import hidden_room
from orchestrator.report.open_display import open_display
from orchestrator.report.summary import summary_view
from orchestrator.run_folder import read_records
from orchestrator.train import train


def run(config: Config, resume: str, plain: bool, as_json: bool) -> None:
    """Train, show the progress, and end with the summary; with ``as_json``, also as one line of JSON.

    Raises UserError, RunFailedError and Interrupted.
    """
    hidden = hidden_room([str(Path.cwd())])  # Ray puts this folder before all others on the path of the actors
    if hidden is not None:
        raise UserError(hidden)
    console = Console()
    with open_display(console, plain) as display:
        summary = train(config, resume, display)
    evaluations = read_records(config.folder, "evaluations")
    report = config.folder / "report.html"
    if len(evaluations) > 1:
        console.print(summary_view(evaluations[0], evaluations[-1], summary, report))
    else:
        console.print(f"report: {report}")
    if as_json:
        click.echo(json.dumps(summary))
