"""Columns of task rows that travel with their tasks."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from common.config import Config
from common.records import Task
from common.tasks.loader import TaskFileError, load_tasks
from common.tasks.metadata import MAX_METADATA_BYTES
from orchestrator.curriculum import load_data
from tests.common.tasks.task_rows import ACECODE, HUMANEVAL, OWN, write

COLUMNS = {"level": 3, "tags": ["a", {"b": None}], "share": 0.5}


def test_named_columns_of_any_format_travel_and_survive_the_wire(tmp_path: Path) -> None:
    rows = [row | COLUMNS | {"other": 1} for row in (ACECODE, HUMANEVAL)] + [OWN | COLUMNS]
    tasks = load_tasks(write(tmp_path / "tasks.jsonl", *rows), metadata=tuple(COLUMNS)).tasks
    assert [Task.decode(task.encode()).metadata for task in tasks] == [COLUMNS] * 3
    plain = load_tasks(write(tmp_path / "plain.jsonl", ACECODE, HUMANEVAL, OWN)).tasks
    assert [task.model_copy(update={"metadata": {}}) for task in tasks] == list(plain)


def test_a_row_of_our_own_may_say_its_metadata_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", OWN | {"metadata": {"level": 1, "x": "y"}, "level": 2})
    assert load_tasks(path, metadata=["level"]).tasks[0].metadata == {"level": 2, "x": "y"}
    with pytest.raises(TaskFileError, match="field level: Extra inputs"):
        load_tasks(path)
    family = load_tasks(write(path, OWN | {"family": "sorting"}), metadata=["family"]).tasks[0]
    assert (family.family, family.metadata) == ("sorting", {"family": "sorting"})


def test_rows_may_lack_a_column_but_not_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", ACECODE | {"level": 1}, HUMANEVAL | {"level": None})
    assert [task.metadata for task in load_tasks(path, metadata=["level"]).tasks] == [{"level": 1}, {}]
    with pytest.raises(TaskFileError, match=r"data\.metadata: no task of .*tasks\.jsonl has the column 'levle'"):
        load_tasks(path, metadata=["level", "levle"])


def test_metadata_is_small_and_json(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", ACECODE | {"note": "x" * MAX_METADATA_BYTES, "level": 1})
    with pytest.raises(TaskFileError, match=r"line 1, field note: makes the task's metadata 163\d\d bytes"):
        load_tasks(path, metadata=["level", "note"])
    for value in (2**70, "\ud800", [[2**70]]):
        with pytest.raises(TaskFileError, match=r"line 1, field level: holds a .* that cannot be sent"):
            load_tasks(write(path, ACECODE | {"level": value}), metadata=["level"])
    with pytest.raises(TaskFileError, match=r"line 1, field metadata\.level: holds a int"):
        load_tasks(write(path, OWN | {"metadata": {"level": 2**70}}))
    table = pa.Table.from_pylist([HUMANEVAL | {"made": date(2026, 1, 1)}])
    pq.write_table(table, tmp_path / "tasks.parquet")
    with pytest.raises(TaskFileError, match="row 1, field made: holds a date that cannot be sent"):
        load_tasks(tmp_path / "tasks.parquet", metadata=["made"])


def test_a_run_names_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", OWN | {"level": 2})
    data = {"train": str(path), "held_out": str(path), "metadata": ["level"]}
    config = Config.model_validate({"model": {"path": "builtin:quickstart"}, "data": data})
    train, held_out = load_data(config, [])
    assert [task.metadata for task in train + held_out] == [{"level": 2}, {"level": 2}]
    synthetic = {"source": "synthetic", "metadata": ["level"]}
    with pytest.raises(ValidationError, match="metadata: generated tasks have no columns"):
        Config.model_validate({"model": {"path": "builtin:quickstart"}, "data": synthetic})
