"""Read programming tasks from files of JSON lines or a JSON list (plain, or gzip if named ``.gz``) or Parquet.

``docs/tasks.md`` has the formats and what becomes of their rows. Fields that a format does not know are ignored,
except in our own, where they are errors, and except for those asked for as metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.records import Task
from common.tasks.formats import FORMATS, OWN_FORMAT, format_of, parser_of
from common.tasks.metadata import with_metadata, without_columns
from common.tasks.rows import ParsedRow, SkippedRowError, TaskFileError, TaskRow, read_rows

__all__ = ["LoadReport", "TaskFileError", "load_tasks"]

#: Where a task or a test was left out (line or row from 1), the task's id, and why.
Omission = tuple[int, str, str]


@dataclass(frozen=True)
class LoadReport:
    """The tasks of a file, in its order, and what of it cannot be used.

    ``skipped``: rows, well-formed, none of whose tests can be used. ``left_out``: single tests of the tasks that
    are there. ``formats``: rows by name of their format. ``unit``: what the numbers of omissions count.
    """

    tasks: tuple[Task, ...]
    skipped: tuple[Omission, ...] = ()
    left_out: tuple[Omission, ...] = ()
    formats: Mapping[str, int] = field(default_factory=dict)
    unit: str = field(default="line", compare=False)


def load_tasks(
    path: Path | str, format: str | None = None, format_field: str = "--format", metadata: Sequence[str] = ()
) -> LoadReport:
    """Read every task of a file; ``format`` is what :func:`parser_of` takes [default: each row's by its fields].

    ``format_field``: where the user gave it, for the message. ``metadata`` names columns for reward functions.
    Raises :class:`TaskFileError` for an unknown format, for a missing or malformed file or row, and for metadata
    that no row has.
    """
    named = None if format is None else parser_of(format, format_field)
    path = Path(path)
    tasks: list[Task] = []
    skipped: list[Omission] = []
    left_out: list[Omission] = []
    formats: Counter[str] = Counter()
    first_use: dict[str, int] = {}
    absent, unit = set(metadata), "line"
    for row in read_rows(path):
        name, unit = format or format_of(row), row.unit
        formats[name] += 1
        try:
            # Of a row of our own, what no task has a field for is an error.
            told = without_columns(row, metadata) if name == OWN_FORMAT else row
            parsed = (named or FORMATS[name].parse)(told)
        except SkippedRowError as error:
            skipped.append((row.number, row.identifier_or_number(), str(error)))
            continue
        if not isinstance(parsed, ParsedRow):  # the function may be the user's
            raise TaskFileError(f"{format_field}: {name} gives {type(parsed).__name__}; return a ParsedRow")
        task_id = parsed.task.id
        if task_id in first_use:
            place = f"{row.unit} {first_use[task_id]}"
            raise row.error("id", f"{task_id!r} was already used on {place}; make ids unique")
        first_use[task_id] = row.number
        absent -= {column for column in absent if row.fields.get(column) is not None}
        task = with_metadata(parsed.task, row, metadata)
        _check_text(task, row)
        tasks.append(task)
        left_out += ((row.number, task_id, reason) for reason in parsed.left_out)
    if absent and tasks:
        raise TaskFileError(
            f"data.metadata: no task of {path} has the column {min(absent)!r}; name columns of its rows"
        )
    return LoadReport(tuple(tasks), tuple(skipped), tuple(left_out), dict(formats), unit)


def _check_text(task: Task, row: TaskRow) -> None:
    """Raise TaskFileError for a task that cannot be encoded: JSON can escape what is no text."""
    try:
        task.encode()
    except UnicodeEncodeError:
        for field, value in row.fields.items():
            row.check_text(field, value)
        raise
