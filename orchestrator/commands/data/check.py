"""``couplet data check``: do the tests of task files accept their own solutions, and nothing else?"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from common.tasks.hub import task_file
from common.tasks.loader import load_tasks
from orchestrator.commands.data.check_run import MUTANTS, TaskReport, check_tasks
from orchestrator.commands.numbers import FiniteRange
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits

_LISTED = 40
_COLUMNS = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeElapsedColumn())


@click.command("check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "name", metavar="NAME", help="Of the rows [default: told by their fields].")
@click.option("--slots", type=click.IntRange(min=1), help="Programs at the same time [default: one per core].")
@click.option(
    "--packages",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A site-packages folder for tasks that need libraries [default: those are not run].",
)
@click.option(
    "--preload",
    multiple=True,
    metavar="MODULE",
    help="Import a module of --packages once, before any program; may be given several times.",
)
@click.option("--cpu-seconds", default=10.0, show_default=True, type=FiniteRange(min=0, min_open=True))
@click.option("--memory-mb", default=1024, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON per file.")
def check(
    files: tuple[Path, ...],
    name: str | None,
    slots: int | None,
    packages: Path | None,
    preload: tuple[str, ...],
    cpu_seconds: float,
    memory_mb: int,
    as_json: bool,
) -> None:
    """Check that tests accept their solutions, and nothing else.

    Runs the solutions that task FILEs (or hub:OWNER/NAME[/FILE]) give, and wrong versions of them, through the
    sandbox. Of every task its own solution should pass, and four mutants should not: a changed constant or
    operator, an empty body, sys.exit(0), and an object that is equal to everything. Exit code: 0 all did, 1 some
    did not, 2 a file cannot be read.
    """
    limits = Limits(
        cpu_s=cpu_seconds, wall_s=3 * cpu_seconds + 2, memory_mb=memory_mb, out_bytes=32 << 20, file_mb=64
    )
    found: dict[Path, list[TaskReport]] = {}
    tasks = {file: load_tasks(task_file(str(file)), name).tasks for file in files}
    with JailSandbox(slots or len(os.sched_getaffinity(0)), packages=packages, preload=preload) as sandbox:
        scorer = Scorer(sandbox, limits=limits, allow_forgeable=True, deadline_s=3600)
        try:
            with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
                for file in files:
                    step = bar.add_task(file.name, total=len(tasks[file]))
                    found[file] = check_tasks(
                        scorer, tasks[file], packages, sandbox.slots, partial(bar.advance, step)
                    )
        finally:
            scorer.close()
    _print(found)
    if as_json:
        for file, reports in found.items():
            click.echo(json.dumps(_record(file, reports)))
    bad = any(each.state == "failed" or each.survived for reports in found.values() for each in reports)
    click.get_current_context().exit(int(bad))


def _print(found: dict[Path, list[TaskReport]]) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("file", "tasks", "not run", "own solution passes", *(f"{kind} noticed" for kind in MUTANTS)):
        table.add_column(column, justify="left" if column == "file" else "right")
    for file, reports in found.items():
        facts = _record(file, reports)
        ran = f"{facts['passed']:,} of {facts['passed'] + facts['failed']:,}"
        noticed = [f"{facts['noticed'][kind]:,} of {facts['passed']:,}" for kind in MUTANTS]
        table.add_row(Text(file.name), f"{facts['tasks']:,}", f"{facts['not_run']:,}", ran, *noticed)
    console.print(table)
    for file, reports in found.items():
        needs = Counter(each.reason for each in reports if each.state == "left")
        _list(
            console,
            f"{file.name}: own solution does not pass",
            [f"{r.task}: {r.reason}" for r in reports if r.state == "failed"],
        )
        lines = [
            f"{each.task}: {kind}: {change}{', in its own process' if each.forgeable else ''}"
            for each in reports
            for kind, change in each.survived.items()
        ]
        _list(console, f"{file.name}: mutants that pass", lines)
        _list(
            console,
            f"{file.name}: not run",
            [f"{count:,} tasks: {reason}" for reason, count in needs.most_common()],
        )
        if forgeable := sum(each.forgeable for each in reports):
            console.print(Text(f"{file.name}: {forgeable:,} tasks run in the solution's own process, forgeable"))


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(Text(f"\n{title} ({len(lines):,})"))
    for line in lines[:_LISTED]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if len(lines) > _LISTED:
        console.print(Text(f"  and {len(lines) - _LISTED:,} more; --json has them all"))


def _record(file: Path, reports: Sequence[TaskReport]) -> dict[str, Any]:
    states = Counter(each.state for each in reports)
    return {
        "check": str(file),
        "tasks": len(reports),
        "passed": states["passed"],
        "failed": states["failed"],
        "not_run": states["left"],
        "noticed": {kind: sum(kind in each.killed for each in reports) for kind in MUTANTS},
        "unnoticed_changes": sum(each.unnoticed for each in reports),
        "forgeable": sum(each.forgeable for each in reports),
        "exceptions": {each.task: each.reason for each in reports if each.state == "failed"},
        "survivors": {each.task: each.survived for each in reports if each.survived},
        "left": {each.task: each.reason for each in reports if each.state == "left"},
    }
