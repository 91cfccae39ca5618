"""Tests of contests as data sets list them: inputs and their outputs, and perhaps the function that is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.records import TestCase
from common.tasks.asserts import UnusableTestError
from common.tasks.contest import call_test, stdin_test
from common.tasks.json_fields import read_json
from common.tasks.rows import TaskRow

#: How far apart numbers may be that are printed, and are not both whole: relative, or absolute below 1.
_TOLERANCE = 1e-6


def listed_tests(row: TaskRow, field: str, pairs: Any) -> tuple[list[TestCase], list[str], str | None]:
    """Make the tests of ``{"inputs": [...], "outputs": [...], "fn_name": ...}``, as APPS has them.

    Returns the tests, why others were left out, and the name of the function that they call, None for a program.
    The arguments of a call are a list, or a text of a JSON value a line, whose output is then JSON too. Raises
    TaskFileError, which names a place in ``field``.
    """
    if not isinstance(pairs, Mapping):
        raise row.error(field, f"is {type(pairs).__name__}; make it an object with inputs and outputs")
    inputs, outputs = (_listed(row, f"{field}.{part}", pairs.get(part)) for part in ("inputs", "outputs"))
    if len(inputs) != len(outputs):
        raise row.error(
            field, f"has {len(inputs)} inputs and {len(outputs)} outputs; give an output for each input"
        )
    name = function_name(row, f"{field}.fn_name", pairs.get("fn_name"))
    tests: list[TestCase] = []
    left_out: list[str] = []
    for number, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
        places = (f"{field}.inputs.{number}", f"{field}.outputs.{number}")
        try:
            tests.append(one_test(row, places, name, given, expected))
        except UnusableTestError as error:
            left_out.append(f"test {number + 1}: {error}")
    return tests, left_out, name


def one_test(row: TaskRow, places: tuple[str, str], name: str | None, given: Any, expected: Any) -> TestCase:
    """Make a test of an input and an output, whose ``places`` in the row these are, for the message.

    Raises TaskFileError, and UnusableTestError for a call that cannot be written down.
    """
    if name is None:
        return stdin_test(_lines(row, places[0], given), _lines(row, places[1], expected), _TOLERANCE)
    if isinstance(given, str):
        given = [_json(row, places[0], line) for line in given.split("\n") if line.strip()]
        expected = _json(row, places[1], expected) if isinstance(expected, str) else expected
    if not isinstance(given, list):
        raise row.error(places[0], f"is {type(given).__name__}; make it the list of {name}'s arguments")
    return call_test(name, [_with_numbers(each) for each in given], expected, "contest_item")


def function_name(row: TaskRow, field: str, value: object) -> str | None:
    """Return the name of a function; None for none, null and empty. Raises TaskFileError."""
    if value is None or value == "":
        return None
    if not (isinstance(value, str) and value.isidentifier()):
        raise row.error(field, f"is {value!r}; give the name of a function")
    return value


def _listed(row: TaskRow, field: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        problem = "is missing" if value is None else f"is {type(value).__name__}"
        raise row.error(field, f"{problem}; make it a list, one item a test")
    return value


def _lines(row: TaskRow, field: str, value: object) -> str:
    """Return a text that may be a list of its lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise row.error(field, f"is {type(value).__name__}; make it a text, or a list of its lines")
    return value


def _json(row: TaskRow, field: str, text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise row.error(field, f"is not JSON ({error}); write a value a line") from error


def _with_numbers(value: Any) -> Any:
    """Give a dictionary its whole numbers as keys back, which JSON made text."""
    if isinstance(value, dict) and value:
        try:
            return {int(key): item for key, item in value.items()}
        except ValueError:
            return value
    return value
