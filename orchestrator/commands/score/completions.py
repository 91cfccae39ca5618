"""Completions of tasks out of a file, for `couplet score`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.records import Task
from common.tasks.loader import LoadReport
from common.tasks.rows import TaskRow, read_rows
from reward_service.extraction import reference_program

_PROGRAM_FIELDS = ("solution", "solutions")
_TEXT_FIELDS = (*_PROGRAM_FIELDS, "completion", "completions")


@dataclass(frozen=True)
class Sample:
    """One completion. ``number`` counts those of its task from 0; ``place`` is where it stood in its file."""

    task: Task
    number: int
    place: str
    text: str


def read_samples(path: Path, tasks: LoadReport) -> list[Sample]:
    """Completions of a file of JSON lines or Parquet, in its order.

    A row has a ``task_id`` and either ``completion``, what a model wrote for the task's prompt, or ``solution``, a
    whole program, as EvalPlus has it; either may be a list. Raises TaskFileError, naming file, line and field.
    """
    known = {task.id: task for task in tasks.tasks}
    skipped = {task_id: reason for _, task_id, reason in tasks.skipped}
    numbers: Counter[str] = Counter()
    samples = []
    for row in read_rows(path):
        field, task_id = _task_id(row)
        if task_id in skipped:
            raise row.error(field, f"{task_id!r} is a task that cannot be used: {skipped[task_id]}")
        if task_id not in known:
            raise row.error(field, f"{task_id!r} is none of the {len(known)} tasks; give the tasks it belongs to")
        name = row.name_of(*_TEXT_FIELDS)
        if name is None:
            raise row.error("completion", f"is missing; give one of {', '.join(_TEXT_FIELDS)}")
        task = as_program_task(known[task_id]) if name in _PROGRAM_FIELDS else known[task_id]
        for text in _texts(row, name):
            samples.append(Sample(task, numbers[task_id], row.place, text))
            numbers[task_id] += 1
    return samples


def as_program_task(task: Task) -> Task:
    """The same task, for completions that are whole programs: nothing is taken out of them, and only a fenced
    task's prefix and suffix, which hold what its programs may rely on, go around them."""
    if task.completion == "fenced":
        return task.model_copy(update={"completion": "continuation"})
    return task.model_copy(update={"prefix": "", "suffix": "", "reference": reference_program(task)})


def by_task(samples: Sequence[Sample]) -> Iterator[list[int]]:
    """Indices of samples of the same task, read in the same way."""
    places: dict[tuple[str, str, str], list[int]] = {}
    for index, sample in enumerate(samples):
        task = sample.task
        places.setdefault((task.id, task.completion, task.prefix), []).append(index)
    yield from places.values()


def _task_id(row: TaskRow) -> tuple[str, str]:
    field = row.name_of("task_id", "id")
    value = None if field is None else row.fields[field]
    if field is None or isinstance(value, bool) or not isinstance(value, str | int):
        raise row.error(field or "task_id", "is missing or neither text nor an integer; name the task")
    return field, str(value)


def _texts(row: TaskRow, name: str) -> list[str]:
    value = row.fields[name]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise row.error(name, "is neither text nor a list of texts; make it one")
    return texts
