"""Read programming tasks from a JSON-lines file, plain or gzip-compressed (name ending in ``.gz``).

Three shapes of row are understood; fields not named here are ignored in the second and third.

- **Our own**: the fields of :class:`common.records.Task`, of which ``id``, ``prompt`` and ``tests`` are
  required. A test is ``{"call": EXPRESSION, "expected": LITERAL}`` or
  ``{"kind": "stdin", "stdin": TEXT, "expected": TEXT}``.
- **MBPP**: ``task_id`` (or ``id``), ``text`` (or ``prompt``), ``test_list`` of assert lines; optionally
  ``test_setup_code``, ``test_imports`` (list of lines), ``code`` (reference), ``entry_point``, ``source``.
- **AceCode**: ``id``, ``question``, ``test_cases`` of assert lines; optionally the same, and ``reference``.

MBPP and AceCode rows become ``fenced`` tasks whose prompt shows the first assert, as in the DiffuCoder
recipe. Imports and set-up code go to ``prefix``: the program of a fenced task is its prefix, then the block.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.records import Task
from common.tasks.asserts import SplitError, is_literal_source, split_assert

_QUESTION_FIELDS = ("question", "text", "prompt")
_TEST_FIELDS = ("test_list", "test_cases")
_REFERENCE_FIELDS = ("reference", "code")


class TaskFileError(ValueError):
    """A task file that cannot be used; the message names the file, the line, the field and the remedy."""


@dataclass(frozen=True)
class LoadReport:
    """The tasks of a file, in its order, and what was left out.

    ``skipped``: (line number from 1, task id, reason) of well-formed rows with a test that cannot be split.
    """

    tasks: tuple[Task, ...]
    skipped: tuple[tuple[int, str, str], ...]


def load_tasks(path: Path | str) -> LoadReport:
    """Read every task of a file. Raises :class:`TaskFileError` for a missing or malformed file or row."""
    path = Path(path)
    tasks: list[Task] = []
    skipped: list[tuple[int, str, str]] = []
    first_line: dict[str, int] = {}
    for line, text in _lines(path):
        row = _Row(path, line, _parse(path, line, text))
        task_id = row.identifier()
        if task_id in first_line:
            raise row.error("id", f"{task_id!r} was already used on line {first_line[task_id]}; make ids unique")
        first_line[task_id] = line
        try:
            tasks.append(_own_task(row) if "tests" in row.fields else _assert_task(row, task_id))
        except SplitError as error:
            skipped.append((line, task_id, str(error)))
    if not first_line:
        raise TaskFileError(f"{path}: the file has no rows; write one JSON object a line")
    return LoadReport(tuple(tasks), tuple(skipped))


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    fields: dict[str, Any]

    def error(self, field: str, problem: str) -> TaskFileError:
        return TaskFileError(f"{self.path}, line {self.line}, field {field}: {problem}")

    def name_of(self, *names: str) -> str | None:
        """The first of the names that the row has a value for."""
        return next((name for name in names if self.fields.get(name) is not None), None)

    def text(self, *names: str) -> str | None:
        name = self.name_of(*names)
        if name is None:
            return None
        value = self.fields[name]
        if not isinstance(value, str):
            raise self.error(name, f"is {type(value).__name__}; make it a string")
        return value

    def strings(self, *names: str) -> list[str] | None:
        name = self.name_of(*names)
        if name is None:
            return None
        value = self.fields[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "is not a list of strings; make it one")
        return value

    def identifier(self) -> str:
        name = self.name_of("id", "task_id")
        value = None if name is None else self.fields[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.error(name or "id", "is missing or not a string or integer; give every row a unique id")
        return str(value)


def _own_task(row: _Row) -> Task:
    try:
        task = Task.model_validate(row.fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise row.error(field, f"{first['msg']}; see the fields of a task in common.records") from error
    if not task.prompt:
        raise row.error("prompt", "is empty; the model needs at least one token before the completion")
    if not task.tests:
        raise row.error("tests", "is empty; a task needs at least one test")
    for number, test in enumerate(task.tests):
        if test.kind == "call" and not test.call:
            raise row.error(f"tests.{number}.call", "is empty; give the expression to evaluate")
        if test.kind == "call" and not is_literal_source(test.expected):
            raise row.error(f"tests.{number}.expected", "is not a Python literal; write the value out")
    return task


def _assert_task(row: _Row, task_id: str) -> Task:
    question = row.text(*_QUESTION_FIELDS)
    if not question:
        raise row.error(_QUESTION_FIELDS[0], f"is missing or empty; give one of {', '.join(_QUESTION_FIELDS)}")
    lines = row.strings(*_TEST_FIELDS)
    if not lines:
        raise row.error(_TEST_FIELDS[0], f"is missing or empty; give tests, or one of {', '.join(_TEST_FIELDS)}")
    setup = "\n".join([*(row.strings("test_imports") or []), row.text("test_setup_code") or ""]).strip()
    tests = []
    for number, line in enumerate(lines, start=1):
        try:
            tests.append(split_assert(line))
        except SplitError as error:
            raise SplitError(f"test {number}: {error}") from error
    return Task(
        id=task_id,
        family=row.text("source") or "",
        prompt=f"{question}\nTest cases: {lines[0].strip()}",
        prefix=setup + "\n" if setup else "",
        completion="fenced",
        entry_point=row.text("entry_point"),
        tests=tuple(tests),
        reference=row.text(*_REFERENCE_FIELDS),
    )


def _parse(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskFileError(f"{path}, line {line}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(fields, dict):
        raise TaskFileError(f"{path}, line {line}: a JSON {type(fields).__name__}; write one JSON object a line")
    return fields


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The non-blank lines, numbered from 1."""
    if not path.is_file():
        raise TaskFileError(f"{path}: there is no such file; check the path of the task set")
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, text
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TaskFileError(
            f"{path}: unreadable ({error}); it must be UTF-8 JSON lines, gzip if named .gz"
        ) from error
