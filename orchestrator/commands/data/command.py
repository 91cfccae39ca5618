"""``couplet data``: what task files hold, and the selections that papers make from them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.commands.data.check import check

if TYPE_CHECKING:
    from common.records import Task
    from common.tasks.hard_split import HardSplit
    from common.tasks.loader import LoadReport, Omission

_LISTED = 10
_LONGEST = 400
_PERCENTILE = click.FloatRange(0, 100)


@click.group()
def data() -> None:
    """Look into task files, check them and select from them."""


data.add_command(check)


@data.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Whose pass rates count; may be repeated [default: the paper's two].",
)
@click.option(
    "--mean-percentile", default=20.0, show_default=True, type=_PERCENTILE, help="Mean pass rate at most this."
)
@click.option(
    "--std-percentile", default=40.0, show_default=True, type=_PERCENTILE, help="Its deviation at least this."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def acecode(
    source: Path,
    target: Path,
    models: tuple[str, ...],
    mean_percentile: float,
    std_percentile: float,
    as_json: bool,
) -> None:
    """The hard split of AceCode that DiffuCoder was trained on, from INPUT to OUTPUT.

    Rows are kept as they are; percentiles are of all of them. Both files are JSON lines, gzip if named .gz, or
    Parquet if named .parquet.
    """
    with _explained_errors():
        from common.tasks.hard_split import MODELS, hard_split
        from common.tasks.rows import read_rows
        from common.tasks.writing import check_writable, write_rows

        check_writable(target)
        split = hard_split(
            read_rows(source),
            models=models or MODELS,
            mean_percentile=mean_percentile,
            std_percentile=std_percentile,
        )
        write_rows(target, [row.fields for row in split.kept])
    Console().print(_split_view(split, models or MODELS, target))
    if as_json:
        record = {
            "data": "acecode",
            "input": str(source),
            "output": str(target),
            "models": list(models or MODELS),
            "rows": split.rows,
            "kept": len(split.kept),
            "mean_at_most": split.mean_at_most,
            "std_at_least": split.std_at_least,
            "too_easy": split.too_easy,
            "too_even": split.too_even,
        }
        click.echo(json.dumps(record))


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", "task_id", metavar="ID", help="Which one to print [default: the first].")
@click.option("--format", "name", metavar="NAME", help="Of the rows [default: told by their fields].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def show(file: Path, task_id: str | None, name: str | None, as_json: bool) -> None:
    """What the loader makes of FILE: its tasks and tests, what it leaves out and why, and one task."""
    with _explained_errors():
        from common.tasks.loader import TaskFileError, load_tasks

        report = load_tasks(file, name)
        task = next((task for task in report.tasks if task_id in (None, task.id)), None)
        if task is None and task_id is not None:
            raise TaskFileError(
                f"{file}: no task {task_id!r}; its first is {report.tasks[0].id!r}"
                if report.tasks
                else f"{file}: no task {task_id!r}, and no other that can be used"
            )
    counts = _counts(report)
    Console().print(_report_view(file, report, counts))
    if task is not None:
        Console().print(_task_view(task), soft_wrap=True)
    if as_json:
        omitted = {"skipped": report.skipped, "left_out": report.left_out}
        shown = None if task is None else task.model_dump(mode="json")
        click.echo(json.dumps({"data": "show", "file": str(file), **counts, **omitted, "task": shown}))


@contextmanager
def _explained_errors() -> Iterator[None]:
    from common.tasks.rows import TaskFileError

    try:
        yield
    except TaskFileError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


def _split_view(split: HardSplit, models: tuple[str, ...], target: Path) -> Table:
    return _facts(
        ("pass rates of", ", ".join(models)),
        ("rows", f"{split.rows:,}"),
        (f"mean above {split.mean_at_most:.4f}", f"-{split.too_easy:,}"),
        (f"deviation below {split.std_at_least:.4f}", f"-{split.too_even:,}"),
        ("kept", f"{len(split.kept):,}"),
        ("written to", str(target)),
    )


def _counts(report: LoadReport) -> dict[str, object]:
    from common.tasks.libraries import third_party

    tests: dict[str, int] = {}
    libraries: dict[str, int] = {}
    for task in report.tasks:
        for test in task.tests:
            tests[test.kind] = tests.get(test.kind, 0) + 1
        for library in third_party(task):
            libraries[library] = libraries.get(library, 0) + 1
    return {
        "formats": dict(report.formats),
        "tasks": len(report.tasks),
        "tests": tests,
        "in_process": sum(task.in_process for task in report.tasks),
        "with_reference": sum(task.reference is not None for task in report.tasks),
        "libraries": dict(sorted(libraries.items(), key=lambda item: (-item[1], item[0]))),
    }


def _report_view(file: Path, report: LoadReport, counts: dict[str, object]) -> Group:
    libraries = _listed(counts["libraries"])
    parts: list[RenderableType] = [
        _facts(
            ("file", str(file)),
            ("rows", _listed(counts["formats"])),
            ("tasks", f"{counts['tasks']:,}, {counts['with_reference']:,} with a reference"),
            ("tests", _listed(counts["tests"])),
            *([("in process", f"{counts['in_process']:,} tasks, forgeable")] if counts["in_process"] else []),
            *([("libraries", libraries)] if libraries else []),
        )
    ]
    for title, omissions in (("rows skipped", report.skipped), ("tests left out", report.left_out)):
        if omissions:
            parts.append(_omissions_view(title, omissions))
    return Group(*parts)


def _omissions_view(title: str, omissions: tuple[Omission, ...]) -> Group:
    more = len(omissions) - _LISTED
    lines = [f"  {number} ({task_id}): {reason}" for number, task_id, reason in omissions[:_LISTED]]
    return Group(
        Text(f"{title}: {len(omissions):,}"), *map(Text, lines), *([Text(f"  and {more:,} more")] * (more > 0))
    )


def _task_view(task: Task) -> Group:
    parts: list[Text] = []
    shown = ", ".join(task.exports)
    for title, text in (
        ("prompt", task.prompt),
        ("prefix", "the prompt" if task.prefix == task.prompt else task.prefix),
        ("tests reach", shown),
        ("test set-up", task.test_setup),
        ("reference", task.reference or ""),
    ):
        if text.strip():
            parts += [Text(f"-- {title}", style="bold"), Text(text.rstrip())]
    parts.append(Text(f"-- tests: {len(task.tests):,}, {task.shown_tests} shown in the prompt", style="bold"))
    for test in task.tests[:_LISTED]:
        wanted = "what the reference gives" if test.expected is None else test.expected
        how = "" if test.comparison == "equal" else f" ({test.comparison}, {test.tolerance:g})"
        said = {"call": f"{test.call} -> {wanted}{how}", "stdin": f"{test.stdin!r} -> {wanted!r}{how}"}
        line = f"{test.kind}: {said.get(test.kind, test.script)}"
        parts.append(Text(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ... ({len(line):,} characters)"))
    if len(task.tests) > _LISTED:
        parts.append(Text(f"and {len(task.tests) - _LISTED:,} more"))
    return Group(Text(f"\ntask {task.id}, {task.completion}", style="bold"), *parts)


def _facts(*rows: tuple[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def _listed(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
