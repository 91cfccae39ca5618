"""Columns of task rows that travel with their tasks to reward functions: those that ``data.metadata`` names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import msgpack
from pydantic import JsonValue, TypeAdapter, ValidationError

from common.records import Task
from common.tasks.rows import TaskRow

#: Of one task, as records are encoded. Every message about the task carries it.
MAX_METADATA_BYTES = 16_384
_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


def without_columns(row: TaskRow, names: Collection[str]) -> TaskRow:
    """Leave these columns out of a row, but for those that a task has a field for."""
    kept = {name: value for name, value in row.fields.items() if name not in names or name in Task.model_fields}
    return replace(row, fields=kept)


def with_metadata(task: Task, row: TaskRow, names: Collection[str]) -> Task:
    """Add the columns that the row has a value for to the metadata that its task has already.

    Raises TaskFileError for a value that no record can hold, and for more than :data:`MAX_METADATA_BYTES` in all.
    """
    columns = {name: row.fields[name] for name in names if row.fields.get(name) is not None}
    metadata = {**task.metadata, **columns}
    if not metadata:
        return task
    sizes = {
        name: _size(row, name if name in columns else f"metadata.{name}", value)
        for name, value in metadata.items()
    }
    total, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    if total > MAX_METADATA_BYTES:
        raise row.error(
            largest if largest in columns else f"metadata.{largest}",
            f"makes the task's metadata {total} bytes, of {MAX_METADATA_BYTES} at most; shorten or drop it",
        )
    return task.model_copy(update={"metadata": metadata})


def _size(row: TaskRow, field: str, value: object) -> int:
    """Return the encoded size of a value, bytes."""
    try:
        return len(msgpack.packb(_JSON.validate_python(value)))
    except (ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise row.error(
            field,
            f"holds a {type(value).__name__} that cannot be sent; make it text, a number of 64 bits, a list or an "
            "object of such",
        ) from error
