"""APPS rows, and those of TACO, which have no ids: problems of contests, with inputs, outputs and solutions."""

from __future__ import annotations

from common.records import Task
from common.tasks.contest import PRELUDE, exports_of_call, question
from common.tasks.conversations import asked
from common.tasks.in_out import listed_tests
from common.tasks.json_fields import parsed
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow
from common.tasks.source import NotPythonError, parse

_TESTS = "input_output"


def apps_task(row: TaskRow) -> ParsedRow:
    """Make a chat question; its reference is the first solution that is Python 3.

    With ``fn_name``, tests call that function, which may be a method of ``Solution``; otherwise the program reads
    its standard input. A row without inputs, of which the published file has some, is skipped.
    """
    text = asked(row, "question")
    pairs = parsed(row, _TESTS)
    tests, left_out, name = ([], [], None) if pairs is None else listed_tests(row, _TESTS, pairs)
    if not tests:
        raise SkippedRowError(
            f"no test can be used; {left_out[0] if left_out else 'it has no inputs and outputs'}"
        )
    task = Task(
        id=row.identifier_or_number(),
        family="apps",
        prompt=question(text, row.text("starter_code") or ""),
        prefix=PRELUDE,
        completion="fenced",
        entry_point=name,
        tests=tuple(tests),
        exports=exports_of_call(name),
        reference=_reference(row),
    )
    return ParsedRow(task, tuple(left_out))


def _reference(row: TaskRow) -> str | None:
    solutions = parsed(row, "solutions")
    if solutions is None:
        return None
    if not isinstance(solutions, list) or not all(isinstance(solution, str) for solution in solutions):
        raise row.error("solutions", "is not a list of programs; make it one, or leave it empty")
    return next((solution for solution in solutions if is_program(solution)), None)


def is_program(solution: str) -> bool:
    """Return whether a text is Python 3, and not empty."""
    try:
        parse(solution)
    except NotPythonError:
        return False
    return bool(solution.strip())
