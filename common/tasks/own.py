"""Rows with the fields of :class:`common.records.Task`."""

from __future__ import annotations

import re

from pydantic import ValidationError

from common.records import Task
from common.tasks.asserts import is_literal_source
from common.tasks.conversations import MESSAGES, asked, is_conversation
from common.tasks.json_fields import parsed
from common.tasks.rows import ParsedRow, TaskRow
from common.tasks.source import NotPythonError, check_expression, parse

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
        raise row.error(field, f"{first['msg']}; the fields of a task are in docs/tasks.md") from error
    if not task.prompt:
        raise row.error("prompt", "is empty; the model needs at least one token before the completion")
    if not task.tests:
        raise row.error("tests", "is empty; a task needs at least one test")
    if task.shown_tests > len(task.tests):
        raise row.error(
            "shown_tests", f"is {task.shown_tests} of {len(task.tests)} tests; show no more than there are"
        )
    if task.suffix and task.completion.startswith("asserted"):
        raise row.error("suffix", f"does not go with completion {task.completion}; leave it out")
    if task.language != "python":
        _check_other_language(row, task)
    _check_tests(row, task)
    _check_scripts(row, task)
    return ParsedRow(task)


def _check_other_language(row: TaskRow, task: Task) -> None:
    """Only what a program prints is asked of those that are not in Python."""
    if task.completion.startswith("asserted"):
        raise row.error("completion", f"{task.completion} is for Python; write fenced or continuation")
    for number, test in enumerate(task.tests):
        if test.kind != "stdin":
            raise row.error(
                f"tests.{number}.kind", f"{test.kind} is for Python; {task.language} has stdin tests only"
            )
        if test.expected_files:
            raise row.error(f"tests.{number}.expected_files", "is for Python; have the program print what counts")


def _check_tests(row: TaskRow, task: Task) -> None:
    for number, test in enumerate(task.tests):
        name = f"tests.{number}"
        if test.kind == "script":
            _check_python(row, f"{name}.script", test.script, "give the test's source")
            if test.files or test.expected_files:
                raise row.error(f"{name}.files", "goes with call and stdin; let the script write what it needs")
            continue
        if test.kind == "call":
            _check_python(row, f"{name}.call", test.call, "give the expression to evaluate")
        if test.expected is None and task.reference is None:
            raise row.error(
                f"{name}.expected", "is missing; give it, or give the task a reference to take it from"
            )
        if test.kind == "call" and test.expected is not None and not is_literal_source(test.expected):
            raise row.error(f"{name}.expected", "is not a Python literal; write the value out")


def _check_scripts(row: TaskRow, task: Task) -> None:
    if task.test_setup:
        _check_python(row, "test_setup", task.test_setup, "leave it out")
    for name in task.exports:
        if not name.isidentifier():
            raise row.error("exports", f"{name!r} is no name; list names that the solution defines")
    if any(test.kind == "script" for test in task.tests) and not task.exports and not task.in_process:
        raise row.error("exports", "is empty; list the names of the solution that the scripts use")


def _check_python(row: TaskRow, field: str, text: str, remedy: str) -> None:
    if not text.strip():
        raise row.error(field, f"is empty; {remedy}")
    try:
        if field.endswith(".call"):
            check_expression(text)
        else:
            parse(text)
    except NotPythonError as error:
        raise row.error(field, f"is {error}; mend it") from error
