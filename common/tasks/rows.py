"""Rows of task files: JSON lines, a list in ``.json``, either as gzip, or Parquet; and what becomes of one."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import UserError
from common.records import Task

_BATCH_ROWS = 1024


class TaskFileError(UserError, ValueError):
    """A task file that cannot be used; the message names the file, the line, the field and the remedy."""


@dataclass(frozen=True)
class TaskRow:
    """One row of a task file.

    ``number`` counts from 1: lines of a text file, blank ones too, or rows of a list or a Parquet file. Fields
    whose value is null are as good as absent. The readers below raise :class:`TaskFileError`, naming the field,
    for a value of another type.
    """

    path: Path
    number: int
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        """Where it stands in its file."""
        return f"{unit_of(self.path)} {self.number}"

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
        name = self.name_of("id", "task_id", "question_id", "problem_id")
        value = None if name is None else self.fields[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.error(name or "id", "is missing or not a string or integer; give every row a unique id")
        return str(value)


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
        raise TaskFileError(f"{path}: there is no such file; check the path of the task set")
    empty = True
    for row in rows_in(path):
        empty = False
        yield row
    if empty:
        raise TaskFileError(f"{path}: the file has no rows; write one task a row")


def rows_in(path: Path) -> Iterator[TaskRow]:
    """Read every row of a file that is there; it may have none. Raises :class:`TaskFileError`."""
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _listed_rows(path) if _is_list(path) else _json_rows(path)


def unit_of(path: Path) -> str:
    """Return the word for one row of this file."""
    return "row" if path.suffix == ".parquet" or _is_list(path) else "line"


def _is_list(path: Path) -> bool:
    return path.name.endswith((".json", ".json.gz"))


def _listed_rows(path: Path) -> Iterator[TaskRow]:
    """Read a file of one list; one that begins otherwise is read as JSON lines."""
    rows = _list_in(path)
    if rows is None:
        yield from _json_rows(path)
        return
    for number, fields in enumerate(rows, start=1):
        if not isinstance(fields, dict):
            raise TaskFileError(f"{path}, row {number}: a JSON {type(fields).__name__}; make it an object")
        yield TaskRow(path, number, fields)


def _list_in(path: Path) -> list[Any] | None:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read()
        rows = json.loads(text) if text.lstrip().startswith(b"[") else None
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, RecursionError) as error:
        raise TaskFileError(f"{path}: unreadable ({error}); write one JSON list of objects, in UTF-8") from error
    return rows if isinstance(rows, list) else None


def _json_rows(path: Path) -> Iterator[TaskRow]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield TaskRow(path, number, _json_object(path, number, line))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TaskFileError(
            f"{path}: unreadable ({error}); it must be UTF-8 JSON lines, gzip if named .gz, or named .parquet"
        ) from error


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TaskFileError(
            f"{path}, line {number}: unreadable ({error}); it must be UTF-8 JSON lines, gzip if named .gz, or "
            "named .parquet"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TaskFileError(f"{path}, line {number}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(fields, dict):
        raise TaskFileError(f"{path}, line {number}: a JSON {type(fields).__name__}; write one JSON object a line")
    return fields


def _parquet_rows(path: Path) -> Iterator[TaskRow]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in range(batch.num_rows):
                    number += 1
                    [fields] = batch.slice(row, 1).to_pylist()
                    yield TaskRow(path, number, _without_nulls(fields))
    except pa.ArrowException as error:
        raise TaskFileError(f"{path}: unreadable ({error}); it must be Parquet, or be named .jsonl") from error
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{path}, row {number}: a text is not UTF-8 ({error}); convert it") from error


def _without_nulls(value: Any) -> Any:
    """Drop nulls. A column is there for every row: in a struct, null says that the row leaves the field out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
