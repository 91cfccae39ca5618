"""Rows of verl's data sets of code: a conversation, and tests as the ground truth of a reward model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.records import Task
from common.tasks.assert_rows import assert_task
from common.tasks.contest import PRELUDE, exports_of_call
from common.tasks.conversations import asked
from common.tasks.in_out import listed_tests
from common.tasks.json_fields import parsed, read_json
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow

_MODEL = "reward_model"
_TRUTH = f"{_MODEL}.ground_truth"
_ASSERTS = "assert_case"


def verl_task(row: TaskRow) -> ParsedRow:
    """Make a chat question of the prompt as it stands.

    The ground truth is an object with inputs and outputs, as APPS has them, or with ``assert_case``, a list of
    asserts, or such a list itself; the programs run after the imports that verl's grader gives them. A row whose
    ground truth is no test, as of mathematics, is skipped.
    """
    truth = _truth(row)
    asserts = truth.get(_ASSERTS) if isinstance(truth, Mapping) else truth
    if isinstance(asserts, list) and asserts and all(isinstance(line, str) for line in asserts):
        return _of_asserts(row, asserts)
    if not isinstance(truth, Mapping) or "inputs" not in truth:
        raise SkippedRowError(f"its {_TRUTH} holds no tests: neither inputs and outputs nor asserts")
    tests, left_out, name = listed_tests(row, _TRUTH, truth)
    if not tests:
        raise SkippedRowError(f"no test can be used; {left_out[0] if left_out else 'it has no inputs'}")
    task = Task(
        id=row.identifier_or_number(),
        family=row.text("data_source") or "verl",
        prompt=asked(row, "prompt"),
        prefix=PRELUDE,
        completion="fenced",
        entry_point=name,
        tests=tuple(tests),
        exports=exports_of_call(name),
    )
    return ParsedRow(task, tuple(left_out))


def _truth(row: TaskRow) -> Any:
    model = parsed(row, _MODEL)
    if not isinstance(model, Mapping) or "ground_truth" not in model:
        raise row.error(_TRUTH, "is missing; give the tests that a completion must pass")
    truth = model["ground_truth"]
    if not isinstance(truth, str):
        return truth
    try:
        return read_json(truth)
    except ValueError:
        return None  # the answer to another kind of question


def _of_asserts(row: TaskRow, asserts: list[str]) -> ParsedRow:
    question = asked(row, "prompt")
    fields = {"id": row.identifier_or_number(), "question": question, "test_list": asserts}
    found = assert_task(replace(row, fields=fields | {"source": row.text("data_source") or "verl"}))
    return replace(found, task=found.task.model_copy(update={"prompt": question, "shown_tests": 0}))
