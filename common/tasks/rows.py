"""Rows of task files: JSON lines or one JSON list, either as gzip, or Parquet; and what becomes of one."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from common.errors import NotHereError, UserError
from common.records import Task

_BATCH_ROWS = 1024
_KINDS = "it must be UTF-8 JSON lines, gzip if named .gz, or named .parquet"
#: What may be the name of a data set, without what the names of our files end in.
_IS_NAME = re.compile(r"(?!.*\.(jsonl?|gz|parquet)$)[\w.-]+/[\w.-]+")
_IDS = ("id", "task_id", "question_id", "problem_id")


class TaskFileError(UserError, ValueError):
    """A task file that cannot be used; the message names the file, the line, the field and the remedy."""


class MissingTaskFileError(TaskFileError, NotHereError):
    """A task file that is not on this machine."""


@dataclass(frozen=True)
class TaskRow:
    """One row of a task file.

    ``number`` counts from 1, in the file's ``unit``: a ``line`` of a text file, blank ones too, or a ``row`` of a
    list or a Parquet file. Fields whose value is null are as good as absent. The readers below raise
    :class:`TaskFileError`, naming the field, for a value of another type.
    """

    path: Path
    number: int
    fields: dict[str, Any]
    unit: str = "line"

    @property
    def place(self) -> str:
        """Where it stands in its file."""
        return f"{self.unit} {self.number}"

    def error(self, field: str, problem: str) -> TaskFileError:
        """Make an error that names file, line and field; ``problem`` says what is wrong and what to do."""
        return TaskFileError(f"{self.path}, {self.place}, field {field}: {problem}")

    def name_of(self, *names: str) -> str | None:
        """Return the first of the names that the row has a value for."""
        return next((name for name in names if self.fields.get(name) is not None), None)

    def text(self, *names: str) -> str | None:
        """Return the value of the first of these fields that is there."""
        name = self.name_of(*names)
        if name is None:
            return None
        value = self.fields[name]
        if not isinstance(value, str):
            raise self.error(name, f"is {type(value).__name__}; make it a string")
        return value

    def required_text(self, *names: str) -> str:
        """Return what :meth:`text` does; absent and empty values are errors too."""
        value = self.text(*names)
        if not value:
            remedy = f"give one of {', '.join(names)}" if len(names) > 1 else "give it a value"
            raise self.error(self.name_of(*names) or names[0], f"is missing or empty; {remedy}")
        return value

    def strings(self, *names: str) -> list[str]:
        """Return the list of strings in the first of these fields that is there; empty if none is."""
        name = self.name_of(*names)
        if name is None:
            return []
        value = self.fields[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "is not a list of strings; make it one")
        return value

    def identifier(self) -> str:
        """Return the task's id."""
        name = self.name_of(*_IDS)
        value = None if name is None else self.fields[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.error(name or "id", "is missing or not a string or integer; give every row a unique id")
        self.check_text(name or "id", value)
        return str(value)

    def identifier_or_number(self) -> str:
        """Return the task's id; of a row that has none, as those of some data sets, its number in the file."""
        return str(self.number) if self.name_of(*_IDS) is None else self.identifier()

    def check_text(self, field: str, value: object) -> None:
        """Raise :class:`TaskFileError` for text, however deep in the value, that JSON can escape and is none."""
        if isinstance(value, str):
            half = next((character for character in value if "\ud800" <= character <= "\udfff"), None)
            if half is not None:
                raise self.error(
                    field, f"holds \\u{ord(half):x}, half of a surrogate pair and no character; mend the row"
                )
        elif isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self.check_text(field, key)
                self.check_text(f"{field}.{key}", item)


class SkippedRowError(ValueError):
    """A well-formed row none of whose tests can be used; the message says why."""


@dataclass(frozen=True)
class ParsedRow:
    """The task of a row; ``left_out`` says of each test that could not be used why not."""

    task: Task
    left_out: tuple[str, ...] = ()


def read_rows(path: Path | str) -> Iterator[TaskRow]:
    """Read every row of a file. Raises :class:`TaskFileError` for a missing, empty or unreadable one."""
    path = Path(path)
    if path.is_dir():
        raise TaskFileError(f"{path}: is a folder; give a file of tasks in it")
    if not path.is_file():
        on_hub = f"; for a data set of the Hub, write hub:{path}" if _IS_NAME.fullmatch(str(path)) else ""
        raise MissingTaskFileError(f"{path}: there is no such file; check the path of the task set{on_hub}")
    empty = True
    try:
        for row in rows_in(path):
            empty = False
            yield row
    except OSError as error:
        raise TaskFileError(f"{path}: cannot be read ({error}); give this process the right to") from error
    if empty:
        raise TaskFileError(f"{path}: the file has no rows; write one task a row")


def rows_in(path: Path) -> Iterator[TaskRow]:
    """Read every row of a file that is there; it may have none. Raises :class:`TaskFileError`."""
    return _parquet_rows(path) if path.suffix == ".parquet" else _text_rows(path)


def _text_rows(path: Path) -> Iterator[TaskRow]:
    """Read JSON lines, or the one JSON list that a file may be instead. A byte-order mark is passed over."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            blank, head = 0, file.readline().removeprefix(codecs.BOM_UTF8)
            while head.isspace():
                blank, head = blank + 1, file.readline()
            lines: Iterable[bytes] = chain([head], file)
            if not isinstance(_json_or_none(head), dict):
                whole = head + file.read()
                rows = _list_in(path, head, whole)
                if rows is not None:
                    yield from _listed_rows(path, rows)
                    return
                lines = BytesIO(whole)
            for number, line in enumerate(lines, start=blank + 1):
                if line.strip():
                    yield TaskRow(path, number, _json_object(path, number, line))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TaskFileError(f"{path}: unreadable ({error}); {_KINDS}") from error


def _list_in(path: Path, head: bytes, whole: bytes) -> list[Any] | None:
    """Return the list that a text is, None for one whose lines are to be read each by itself."""
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        if head.lstrip().startswith(b"[") and _json_or_none(head) is None:
            raise TaskFileError(
                f"{path}: unreadable ({error}); write one JSON list of objects, in UTF-8"
            ) from error
        return None
    if isinstance(value, dict):
        raise TaskFileError(
            f"{path}: one JSON object over several lines; write a list of objects, or an object a line (as pandas "
            "does by to_json(orient='records', lines=True))"
        )
    return value if isinstance(value, list) else None


def _json_or_none(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _listed_rows(path: Path, rows: list[Any]) -> Iterator[TaskRow]:
    for number, fields in enumerate(rows, start=1):
        if not isinstance(fields, dict):
            raise TaskFileError(f"{path}, row {number}: a JSON {type(fields).__name__}; make it an object")
        yield TaskRow(path, number, fields, "row")


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{path}, line {number}: unreadable ({error}); {_KINDS}") from error
    except (ValueError, RecursionError) as error:
        raise TaskFileError(f"{path}, line {number}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(fields, dict):
        raise TaskFileError(f"{path}, line {number}: a JSON {type(fields).__name__}; write one JSON object a line")
    return fields


def _parquet_rows(path: Path) -> Iterator[TaskRow]:
    # It takes a fifth of a second, and few files are Parquet.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in range(batch.num_rows):
                    number += 1
                    [fields] = batch.slice(row, 1).to_pylist()
                    filled = {name: _without_nulls(value) for name, value in fields.items()}
                    yield TaskRow(path, number, filled, "row")
    except pa.ArrowException as error:
        raise TaskFileError(f"{path}: unreadable ({error}); it must be Parquet, or be named .jsonl") from error
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{path}, row {number}: a text is not UTF-8 ({error}); convert it") from error


def _without_nulls(value: Any) -> Any:
    """Drop nulls. A column is there for every row: in a struct, null says that the row leaves the field out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
