"""Columns of task rows that travel with their tasks to reward functions: those that ``data.metadata`` names."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from common.records import Task
from common.tasks.rows import TaskRow

#: Of one task, as JSON. Every message about the task carries it.
MAX_METADATA_BYTES = 16_384
_MAPPING: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def without_columns(row: TaskRow, names: Collection[str]) -> TaskRow:
    """Leave these columns out of a row, but for those that a task has a field for."""
    kept = {name: value for name, value in row.fields.items() if name not in names or name in Task.model_fields}
    return replace(row, fields=kept)


def with_metadata(task: Task, row: TaskRow, names: Collection[str]) -> Task:
    """Add the columns that the row has a value for to the metadata that its task has already.

    Raises TaskFileError for a value that is no JSON, and for more than :data:`MAX_METADATA_BYTES` in all.
    """
    columns = {name: row.fields[name] for name in names if row.fields.get(name) is not None}
    for name, value in columns.items():
        _check_json(row, name, value)
    metadata = {**task.metadata, **columns}
    size = len(json.dumps(metadata).encode()) if metadata else 0
    if size > MAX_METADATA_BYTES:
        largest = max(metadata, key=lambda name: len(json.dumps(metadata[name])))
        raise row.error(
            largest if largest in columns else "metadata",
            f"makes the task's metadata {size} bytes, of {MAX_METADATA_BYTES} at most; shorten it or leave it out",
        )
    return task.model_copy(update={"metadata": metadata}) if columns else task


def _check_json(row: TaskRow, name: str, value: Any) -> None:
    try:
        _MAPPING.validate_python({name: value})
    except ValidationError as error:
        raise row.error(
            name, f"holds {type(value).__name__}, which is no JSON; make it text, a number, a list or an object"
        ) from error
