"""Rows with the fields of :class:`common.records.Task`."""

from __future__ import annotations

import re

from pydantic import ValidationError

from common.records import Task
from common.tasks.checks import UnusableTaskError, check_tests
from common.tasks.conversations import MESSAGES, asked, is_conversation
from common.tasks.json_fields import parsed
from common.tasks.rows import ParsedRow, TaskRow

#: Fields that a table, which knows no lists of anything, has as JSON.
_PACKED = ("tests", "exports", "metadata")
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|index|level_\d+")


def own_task(row: TaskRow) -> ParsedRow:
    """Take the task as the row has it, once its tests are ones that can be run.

    ``tests`` and other lists and objects may be JSON in a string. The prompt may be a conversation; what answers
    it is then a chat answer, unless the row says otherwise. Columns of the index of pandas are passed over.
    """
    filled = {name: value for name, value in row.fields.items() if value is not None}
    fields = {name: value for name, value in filled.items() if not _INDEX.fullmatch(name)}
    fields.pop("task_id", None)
    fields["id"] = row.identifier()
    for name in _PACKED:
        if isinstance(fields.get(name), str):
            fields[name] = parsed(row, name)
    if "tests" not in fields:
        raise row.error("tests", "is missing or null; give it a list of tests, one at least")
    if MESSAGES in fields or is_conversation(row, "prompt"):
        fields = {"completion": "fenced", **fields, "prompt": asked(row, "prompt")}
        fields.pop(MESSAGES, None)
    try:
        task = Task.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        if field.endswith(".expected"):
            problem += ", in quotes even where it is a number"
        raise row.error(field, f"{problem}; the fields of a task are in docs/tasks.md") from error
    if not task.prompt:
        raise row.error("prompt", "is empty; the model needs at least one token before the completion")
    try:
        check_tests(task)
    except UnusableTaskError as error:
        raise row.error(error.field, error.problem) from error
    return ParsedRow(task)
