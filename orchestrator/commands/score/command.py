"""``couplet score``: a verdict per test and a reward per completion, from files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from common.disk import write_text
from common.errors import UserError
from common.tasks.loader import load_tasks
from orchestrator.commands.exits import CommandFailedError
from orchestrator.commands.score.completions import read_samples
from orchestrator.commands.score.options import reward_config, sandbox_options
from orchestrator.commands.score.run import score_samples
from orchestrator.commands.score.view import Result, completions_table, summarise, summary_table

_FEW = 20
_COLUMNS = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeElapsedColumn())


@click.command()
@click.argument("tasks", type=click.Path(path_type=Path))
@click.argument("completions", type=click.Path(path_type=Path))
@click.option(
    "--format", "format_name", help="Format of all TASKS, by its name [default: told from the fields of each row]."
)
@click.option(
    "--tests",
    type=click.Choice(("pass_rate", "all_or_nothing")),
    default="pass_rate",
    show_default=True,
    help="Pay for the share of tests passed, or only for all.",
)
@sandbox_options
@click.option("--verbose", "-v", is_flag=True, help=f"A line for each completion, also for more than {_FEW}.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each completion instead of tables.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write those lines to a file.")
def score(
    tasks: Path,
    completions: Path,
    format_name: str | None,
    tests: Literal["pass_rate", "all_or_nothing"],
    verbose: bool,
    as_json: bool,
    output: Path | None,
    **sandbox: Any,
) -> None:
    """Score completions in files by their tasks' tests.

    Runs the tests of TASKS on COMPLETIONS, and prints verdicts and rewards. Both are JSON lines (plain or .gz) or
    Parquet. A row of COMPLETIONS has a task_id and a completion, what a model wrote for the task's prompt, or a
    solution, a whole program; either may be a list.

    Exit code 0: all scored; 1: the sandbox failed on some, which are excluded; 2: the input is wrong.
    """
    if output is not None and not output.resolve().parent.is_dir():
        raise UserError(f"--output {output}: there is no such folder; make it")
    config = reward_config(tests=tests, **sandbox)
    started = time.monotonic()
    loaded = load_tasks(tasks, format_name)
    samples = read_samples(completions, loaded)
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        task = bar.add_task("completions", total=len(samples))
        results, executions = score_samples(config, samples, lambda done: bar.advance(task, done))
    for number, task_id, reason in loaded.left_out[:_FEW]:
        click.echo(f"note: {tasks}, {loaded.unit} {number}, task {task_id!r}: left out, {reason}", err=True)
    lines = [json.dumps(result.as_record()) for result in results]
    if output is not None:
        write_text(output, "".join(f"{line}\n" for line in lines))
    if as_json:
        click.echo("\n".join(lines))
    else:
        _print(results, time.monotonic() - started, executions, verbose)
    _check_all_scored(results)


def _print(results: Sequence[Result], seconds: float, executions: int, verbose: bool) -> None:
    console = Console()
    if verbose or len(results) <= _FEW:
        console.print(completions_table(results))
        console.print()
    console.print(summary_table(summarise(results, seconds, executions)))


def _check_all_scored(results: Sequence[Result]) -> None:
    """Raises UserError for tasks that cannot be scored, CommandFailedError where the sandbox failed."""
    refused = {result.sample.task.id: result.error for result in results if result.scored is None}
    if refused:
        some = "\n".join(f"  {error}" for error in list(refused.values())[:_FEW])
        more = f"\n  and {len(refused) - _FEW} more" if len(refused) > _FEW else ""
        what = "1 task" if len(refused) == 1 else f"{len(refused)} tasks"
        raise UserError(f"{what} cannot be scored:\n{some}{more}")
    if any(result.scored is not None and result.scored.score.excluded for result in results):
        raise CommandFailedError("the sandbox failed on some completions, which are excluded; score them again")
