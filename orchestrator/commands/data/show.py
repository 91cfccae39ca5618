"""``couplet data show``: what the loader makes of a task file."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from common.records import Task, TestCase
from common.tasks.hub import task_file
from common.tasks.libraries import third_party
from common.tasks.loader import LoadReport, Omission, TaskFileError, load_tasks
from orchestrator.commands.data.facts import facts_table

_LISTED = 10
_LONGEST = 400


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", "task_id", metavar="ID", help="Which one to print [default: the first].")
@click.option("--format", "name", metavar="NAME", help="Of the rows [default: told by their fields].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def show(file: Path, task_id: str | None, name: str | None, as_json: bool) -> None:
    """Show what the loader makes of a task file.

    Prints the tasks and tests of FILE, which may be hub:OWNER/NAME[/FILE], what is left out and why, and one task.
    """
    report = load_tasks(task_file(str(file)), name)
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


def _counts(report: LoadReport) -> dict[str, object]:
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
        facts_table(
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
        ("suffix", task.suffix),
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
        given, left = (f", {word} {', '.join(names)}" if names else "" for word, names in _files_of(test))
        line = f"{test.kind}: {said.get(test.kind, test.script)}{given}{left}"
        parts.append(Text(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ... ({len(line):,} characters)"))
    if len(task.tests) > _LISTED:
        parts.append(Text(f"and {len(task.tests) - _LISTED:,} more"))
    language = "" if task.language == "python" else f", {task.language}"
    return Group(Text(f"\ntask {task.id}, {task.completion}{language}", style="bold"), *parts)


def _files_of(test: TestCase) -> tuple[tuple[str, dict[str, str]], ...]:
    return (("given", test.files), ("leaves", test.expected_files))


def _listed(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
