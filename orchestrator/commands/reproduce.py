"""``couplet reproduce``: claims of the papers, tested on models that train here."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from common.errors import UserError
from evaluation.reproduction.claims import Claim, all_jobs, find_claims
from evaluation.reproduction.jobs import RECIPE
from evaluation.reproduction.results import Result, ResultFolder, Results
from evaluation.reproduction.statistics import MOST_SEEDS
from orchestrator.commands.recipes import shipped_recipe
from orchestrator.interrupt import StopRequest
from orchestrator.reproduction.report import Section, sections, write_report
from orchestrator.reproduction.wording import seeds as seeds_in_words
from orchestrator.reproduction.wording import with_interval
from orchestrator.reproduction.workers import Task, do_tasks

_COLUMNS = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())


@click.command()
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@click.option("--list", "listing", is_flag=True, help="Show the claims and their rules; compute nothing.")
@click.option(
    "--seeds",
    default=5,
    show_default=True,
    type=click.IntRange(1, MOST_SEEDS),
    help="Number of seeds, which count from 0; a verdict takes at least 5.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduction"),
    show_default=True,
    help="Folder of results and report. What is done there already is not done again.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that run side by side, each of one thread [default: one per usable core].",
)
@click.option("--report-only", is_flag=True, help="Compute nothing: write the report of what is done so far.")
def reproduce(
    claims: tuple[str, ...], listing: bool, seeds: int, output: Path, jobs: int | None, report_only: bool
) -> None:
    """Test the papers' claims on models that train here, over several seeds.

    Each CLAIM (all by default; --list names them) is an experiment. It trains or evaluates small models, whose
    arms have the same tasks and the same initial weights in a seed, and a rule that was written down before
    decides whether it is reproduced. The command may be stopped at any moment. The same command goes on, and does
    only those jobs again that were under way. More seeds add to what is there.

    The output folder gets report.html, report.md, figures/, and results/ with a file for each job and seed.
    """
    chosen = find_claims(claims)
    if listing:
        Console().print(_listing(chosen), *_rules(chosen), sep="\n")
        return
    folder = ResultFolder(output)
    numbers = range(seeds)
    if not report_only:
        with folder.locked():
            _do(chosen, numbers, folder, output, jobs or len(os.sched_getaffinity(0)))
    results = folder.all(all_jobs(chosen), numbers)
    if not any(results.values()):
        raise UserError(f"--output {output}: holds no results of these claims yet; leave --report-only out")
    parts = sections(chosen, results)
    try:
        page = write_report(output, parts, _about(claims, results, numbers))
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error}; name another") from error
    Console().print(_summary(parts))
    click.echo(page)


def _do(claims: Sequence[Claim], seeds: Sequence[int], folder: ResultFolder, output: Path, jobs: int) -> None:
    """Do what is not done yet, claim by claim."""
    wanted = dict.fromkeys(Task(job, seed) for claim in claims for seed in seeds for job in claim.jobs())
    missing = [task for task in wanted if folder.read(task.job, task.seed) is None]
    if not missing:
        return
    with StopRequest() as stop, _progress(len(wanted), len(wanted) - len(missing)) as done:

        def tell(task: Task) -> None:
            result = folder.read(task.job, task.seed)
            assert result is not None  # it was written before its process said so
            done(f"{task.name}: {_in_words(result)}")

        do_tasks(missing, output, shipped_recipe(RECIPE), jobs, tell, stop.check)


def _in_words(result: Result) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in list(result.figures.items())[:2])
    return f"{figures}  ({result.seconds:.0f} s)"


@contextmanager
def _progress(total: int, completed: int) -> Iterator[Callable[[str], None]]:
    """Show how many jobs are done: a bar on a terminal, lines elsewhere. Yields what to tell of each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        count = completed

        def say(text: str) -> None:
            nonlocal count
            count += 1
            click.echo(f"[{count}/{total}] {text}", err=True)

        yield say
        return
    with Progress(*_COLUMNS, console=console) as bar:
        task = bar.add_task("jobs", total=total, completed=completed)

        def advance(text: str) -> None:
            bar.console.print(text, highlight=False)
            bar.advance(task)

        yield advance


def _about(names: Sequence[str], results: Results, seeds: Sequence[int]) -> dict[str, str]:
    """Say what the results depend on, and how much of them is there."""
    done = [result for by_seed in results.values() for result in by_seed.values()]
    return {
        "written": datetime.now().astimezone().isoformat(" ", "minutes"),
        "commit": ", ".join(sorted({result.commit for result in done})) or "–",
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "done": f"{len(done)} of {len(results) * len(seeds)} jobs, {_duration(done)} one after the other",
        "machine": f"{platform.machine()}, one thread a job",
        "command": " ".join(["couplet reproduce", *names, f"--seeds {len(seeds)}"]),
    }


def _duration(results: Sequence[Result]) -> str:
    seconds = sum(result.seconds for result in results)
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 3600:.1f} hours"


def _listing(claims: Sequence[Claim]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("claim", "statement", "rule"):
        table.add_column(name, overflow="fold")
    for claim in claims:
        table.add_row(f"[bold]{claim.name}[/bold]", f"[bold]{claim.title}[/bold]", "")
        for statement in claim.statements:
            table.add_row("", statement.text, statement.rule.name)
    return table


def _rules(claims: Sequence[Claim]) -> Iterator[str]:
    """Say what each rule in a listing demands."""
    for rule in dict.fromkeys(statement.rule for claim in claims for statement in claim.statements):
        yield f"\n{rule.name}: reproduced if {rule.sentence}."


def _summary(parts: Sequence[Section]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("claim", "statement", "difference", "verdict"):
        table.add_column(name, overflow="fold")
    for part in parts:
        for finding in part.findings:
            difference = with_interval(finding.difference, finding.statement.first.unit)
            table.add_row(
                part.claim.name,
                finding.statement.text,
                f"{difference}, {seeds_in_words(finding)}",
                f"{finding.decision.verdict}: {finding.decision.reason}",
            )
    return table
