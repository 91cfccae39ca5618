"""APPS rows: problems of contests, with inputs, outputs and solutions."""

from __future__ import annotations

from typing import Any

from common.records import Task, TestCase
from common.tasks.asserts import UnusableTestError
from common.tasks.contest import PRELUDE, call_test, exports_of_call, question, stdin_test
from common.tasks.json_fields import parsed
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow
from common.tasks.source import NotPythonError, parse

#: How far apart numbers may be that are printed, and are not both whole: relative, or absolute below 1.
_TOLERANCE = 1e-6


def apps_task(row: TaskRow) -> ParsedRow:
    """Make a chat question; its reference is the first solution that is Python 3.

    With ``fn_name``, tests call that function, which may be a method of ``Solution``; otherwise the program reads
    its standard input. A row without inputs, of which the published file has some, is skipped.
    """
    text = row.required_text("question")
    tests, left_out, name = _tests(row)
    if not tests:
        raise SkippedRowError(
            f"no test can be used; {left_out[0] if left_out else 'it has no inputs and outputs'}"
        )
    task = Task(
        id=row.identifier(),
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


def _tests(row: TaskRow) -> tuple[list[TestCase], list[str], str | None]:
    pairs = parsed(row, "input_output")
    if pairs is None:
        return [], [], None
    if not isinstance(pairs, dict):
        raise row.error("input_output", f"is {type(pairs).__name__}; make it an object with inputs and outputs")
    inputs, outputs = (_listed(row, part, pairs.get(part)) for part in ("inputs", "outputs"))
    if len(inputs) != len(outputs):
        raise row.error(
            "input_output", f"has {len(inputs)} inputs and {len(outputs)} outputs; give an output for each input"
        )
    name = pairs.get("fn_name") or None
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        raise row.error("input_output.fn_name", f"is {name!r}; give the name of a function")
    tests: list[TestCase] = []
    left_out: list[str] = []
    for number, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
        place = f"input_output.inputs.{number}"
        if name is None:
            tests.append(
                stdin_test(
                    _lines(row, place, given), _lines(row, f"input_output.outputs.{number}", expected), _TOLERANCE
                )
            )
            continue
        if not isinstance(given, list):
            raise row.error(place, f"is {type(given).__name__}; make it the list of {name}'s arguments")
        try:
            tests.append(call_test(name, [_with_numbers(each) for each in given], expected, "contest_item"))
        except UnusableTestError as error:
            left_out.append(f"test {number + 1}: {error}")
    return tests, left_out, name


def _listed(row: TaskRow, part: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        problem = "is missing" if value is None else f"is {type(value).__name__}"
        raise row.error(f"input_output.{part}", f"{problem}; make it a list, one item a test")
    return value


def _lines(row: TaskRow, field: str, value: object) -> str:
    """Return a text that may be a list of its lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise row.error(field, f"is {type(value).__name__}; make it a text, or a list of its lines")
    return value


def _with_numbers(value: Any) -> Any:
    """Give a dictionary its whole numbers as keys back, which JSON made text."""
    if isinstance(value, dict) and value:
        try:
            return {int(key): item for key, item in value.items()}
        except ValueError:
            return value
    return value


def _reference(row: TaskRow) -> str | None:
    solutions = parsed(row, "solutions")
    if solutions is None:
        return None
    if not isinstance(solutions, list) or not all(isinstance(solution, str) for solution in solutions):
        raise row.error("solutions", "is not a list of programs; make it one, or leave it empty")
    return next((solution for solution in solutions if _is_python(solution)), None)


def _is_python(solution: str) -> bool:
    try:
        parse(solution)
    except NotPythonError:
        return False
    return bool(solution.strip())
