"""Verdicts, on the host, from what a program claimed. Pure: nothing is executed here."""

from __future__ import annotations

import ast

from common.records import TestCase, Verdict
from sandbox import values
from sandbox.types import Case, CaseRun, Outcome

_NOT_OK = {
    Outcome.ERROR: Verdict.ERROR,
    Outcome.CRASH: Verdict.ERROR,
    Outcome.TIMEOUT: Verdict.TIMEOUT,
    Outcome.MEMORY: Verdict.MEMORY,
    Outcome.OUTPUT: Verdict.OUTPUT,
    Outcome.INFRA: Verdict.INFRA,
}


def case_of(case_id: str, test: TestCase) -> Case:
    """The part of a test that may enter the sandbox."""
    return Case(case_id, test.kind, call=test.call, stdin=test.stdin)


def expected_value(test: TestCase) -> object:
    """The literal a ``call`` must equal. Raises ValueError when the task's text is not a literal."""
    try:
        return ast.literal_eval(test.expected)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"expected value of {test.call!r} is not a Python literal: {error}") from error


def judge(run: CaseRun, test: TestCase) -> Verdict:
    """``call``: Python's ``==`` on plain data, as an assert would; ``stdin``: equal lines, ends stripped.

    Raises ValueError only for a malformed test.
    """
    if run.outcome is not Outcome.OK:
        return _NOT_OK[run.outcome]
    if test.kind == "stdin":
        return _verdict(_lines(run.stdout.decode("utf-8", "replace")) == _lines(test.expected))
    expected = expected_value(test)
    if run.value is None:
        return Verdict.ERROR
    try:
        return _verdict(values.decode(run.value) == expected)
    except (values.ValueRefusedError, RecursionError):
        return Verdict.ERROR


def _verdict(equal: bool) -> Verdict:
    return Verdict.PASSED if equal else Verdict.FAILED


def _lines(text: str) -> list[str]:
    """Lines without surrounding blanks, and without blank lines at either end."""
    return [line.strip() for line in text.strip().splitlines()]
