"""Rows of Open-R1's verifiable coding problems: a prompt, and tests in ``verification_info``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.records import Task, TestCase
from common.tasks.apps import is_program
from common.tasks.asserts import UnusableTestError
from common.tasks.contest import exports_of_call
from common.tasks.conversations import asked
from common.tasks.in_out import function_name, listed_tests, one_test
from common.tasks.json_fields import parsed
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow

_INFO = "verification_info"
_TESTS = f"{_INFO}.test_cases"
_SOLUTION = "gold_standard_solution"
_FENCE = "```"


def open_r1_task(row: TaskRow) -> ParsedRow:
    """Make a chat question of the prompt as it stands; its reference is the gold solution, where that is Python 3.

    ``test_cases`` is a list of tests, each with its input, output and function, or inputs and outputs as APPS has
    them. A row for another language is skipped.
    """
    info = parsed(row, _INFO)
    if not isinstance(info, Mapping):
        raise row.error(_INFO, f"is {type(info).__name__}; make it an object with test_cases")
    language = info.get("language") or "python"
    if str(language).lower() not in ("python", "python3"):
        raise SkippedRowError(f"its tests are for programs in {language}")
    tests, left_out, name = _tests(row, parsed(replace(row, fields={_TESTS: info.get("test_cases")}), _TESTS))
    if not tests:
        raise SkippedRowError(f"no test can be used; {left_out[0] if left_out else 'it has none'}")
    task = Task(
        id=row.identifier_or_number(),
        family=row.text("source") or "open-r1",
        prompt=asked(row, "prompt"),
        completion="fenced",
        entry_point=name,
        tests=tuple(tests),
        exports=exports_of_call(name),
        reference=_reference(row),
    )
    return ParsedRow(task, tuple(left_out))


def _tests(row: TaskRow, cases: Any) -> tuple[list[TestCase], list[str], str | None]:
    if isinstance(cases, Mapping):
        return listed_tests(row, _TESTS, cases)
    if not isinstance(cases, list):
        raise row.error(_TESTS, f"is {type(cases).__name__}; make it a list of tests")
    tests: list[TestCase] = []
    left_out: list[str] = []
    names: list[str | None] = []
    for number, case in enumerate(cases):
        place = f"{_TESTS}.{number}"
        if not isinstance(case, Mapping):
            raise row.error(place, f"is {type(case).__name__}; make it an object with input and output")
        names.append(function_name(row, f"{place}.fn_name", case.get("fn_name")))
        if names[-1] != names[0]:
            raise row.error(f"{place}.fn_name", f"is {names[-1]!r}, and {names[0]!r} before; test one function")
        try:
            places = (f"{place}.input", f"{place}.output")
            tests.append(one_test(row, places, names[-1], case.get("input"), case.get("output")))
        except UnusableTestError as error:
            left_out.append(f"test {number + 1}: {error}")
    return tests, left_out, names[0] if names else None


def _reference(row: TaskRow) -> str | None:
    """Return the gold solution, out of its fence where it has one."""
    solution = row.text(_SOLUTION) or ""
    if solution.lstrip().startswith(_FENCE):
        solution = solution.lstrip().partition("\n")[2].rpartition(_FENCE)[0]
    return solution if is_program(solution) else None
