"""What an evaluation leaves: the figures in its folder and on the terminal, and what could not be scored."""

from __future__ import annotations

import json

import click
from rich.console import Console

from common.errors import UserError
from evaluation.folder import EvaluationFolder
from evaluation.results import Results
from evaluation.settings import EvaluationSettings
from orchestrator.commands.evaluate.tables import comma_separated, markdown
from orchestrator.commands.evaluate.view import evaluation_view
from orchestrator.commands.exits import CommandFailedError

_FEW = 20


def report(folder: EvaluationFolder, settings: EvaluationSettings, results: Results) -> None:
    """Write the figures into the folder, and print them."""
    if not results.scores:
        click.echo("nothing was done", err=True)
        return
    folder.write("summary.json", json.dumps(results.record(), indent=2) + "\n")
    folder.write("summary.md", markdown(settings, results))
    folder.write("summary.csv", comma_separated(settings, results))
    Console().print(evaluation_view(settings, results))
    if results.complete:
        click.echo(f"all is in {folder.path}", err=True)
    else:
        click.echo(
            f"what was done is in {folder.path}; the same command with --output {folder.path} goes on", err=True
        )


def check_all_scored(folder: EvaluationFolder) -> None:
    """Raises UserError for tasks that cannot be scored, CommandFailedError where the sandbox failed."""
    errors: dict[str, str] = {}
    excluded = 0
    for sample in folder.samples():
        excluded += sample.excluded
        if sample.error:
            errors[sample.task_id] = sample.error
    if errors:
        some = "\n".join(f"  {error}" for error in list(errors.values())[:_FEW])
        raise UserError(f"{len(errors)} tasks cannot be scored, and are not counted; the first:\n{some}")
    if excluded:
        raise CommandFailedError(
            f"the sandbox failed on {excluded} samples, which are not counted; the same command with --output "
            f"{folder.path} scores them again"
        )
