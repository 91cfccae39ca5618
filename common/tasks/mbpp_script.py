"""MBPP+ rows as the Hub has them: all inputs and outputs in one script, beside MBPP's own asserts."""

from __future__ import annotations

from common.records import Task, TestCase
from common.tasks.rows import ParsedRow, TaskRow
from common.tasks.source import NotPythonError, Source, read_source


def mbpp_script_task(row: TaskRow) -> ParsedRow:
    """Make a chat question, which shows the first assert; the script is its one test.

    The script may need libraries: the published ones import numpy.
    """
    question, lines = row.required_text("prompt", "text"), row.strings("test_list")
    script, reference = _read(row, "test"), _read(row, "code")
    exports = tuple(sorted(script.free & reference.bound))
    if not exports:
        raise row.error("test", "uses no name that code defines; mend one of the two")
    imports = "\n".join(row.strings("test_imports"))
    task = Task(
        id=row.identifier(),
        family="mbpp+",
        prompt="\n".join([question, *lines[:1]]),
        completion="fenced",
        entry_point=exports[0],
        tests=(TestCase(kind="script", script=f"{imports}\n{script.text}".lstrip()),),
        exports=exports,
        reference=reference.text,
    )
    return ParsedRow(task)


def _read(row: TaskRow, field: str) -> Source:
    try:
        return read_source(row.required_text(field))
    except NotPythonError as error:
        raise row.error(field, f"is {error}; mend it") from error
