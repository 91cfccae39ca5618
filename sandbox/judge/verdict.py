"""Verdicts, on the host, from what a program claimed. Pure: nothing is executed here."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from common.records import Task, TestCase, Verdict
from sandbox.inside import values
from sandbox.judge.comparison import same_text, same_value
from sandbox.judge.files import has_files
from sandbox.types import Case, CaseRun, Outcome, Program

_NOT_OK = {
    Outcome.ERROR: Verdict.ERROR,
    Outcome.CRASH: Verdict.ERROR,
    Outcome.TIMEOUT: Verdict.TIMEOUT,
    Outcome.MEMORY: Verdict.MEMORY,
    Outcome.OUTPUT: Verdict.OUTPUT,
    Outcome.INFRA: Verdict.INFRA,
    Outcome.SKIPPED: Verdict.SKIPPED,
}


@dataclass(frozen=True)
class Criterion:
    """What passing one test takes: the value or text to give or, of a script, what the reference did.

    ``checks``: that must have run, at least. ``handles``: objects in place of plain data, at most.
    """

    value: object = None
    checks: int = 1
    handles: int = 0


def program_for(source: str, task: Task, *, in_process: bool = False) -> Program:
    """The source with the part of the task's tests that may enter the sandbox."""
    return Program(
        source=source,
        cases=tuple(
            Case(
                str(index),
                test.kind,
                call=test.call,
                stdin=test.stdin,
                script=test.script,
                files=test.files,
                collected=tuple(test.expected_files),
            )
            for index, test in enumerate(task.tests)
        ),
        test_setup=task.test_setup,
        exports=task.exports,
        in_process=in_process or task.in_process,
        language=task.language,
    )


def criterion_of(test: TestCase, reference: CaseRun | None = None) -> Criterion:
    """What a test demands; ``reference`` is what the task's reference did on it, if that is known.

    Raises ValueError when the expected value is no literal, or has to come from a reference that did not give one.
    """
    if test.kind == "script":
        if reference is None:
            return Criterion()
        _, checks, _, handles = _script_claim(reference)
        return Criterion(checks=checks, handles=handles)
    if test.expected is None:
        return Criterion(_reference_value(test, reference))
    return Criterion(test.expected if test.kind == "stdin" else _literal(test))


def judge(run: CaseRun, test: TestCase, criterion: Criterion) -> Verdict:
    """Judge one run of one test.

    A script passes when its process says so, after the checks that the criterion asks for (one at least) and a
    call. The solution may answer with no more objects than the reference: what is asked of an object may be a lie.
    """
    if run.outcome is not Outcome.OK:
        return _NOT_OK[run.outcome]
    try:
        match test.kind:
            case "stdin":
                text = run.stdout.decode("utf-8", "replace")
                passed = same_text(text, str(criterion.value), test.comparison, test.tolerance)
            case "call":
                passed = same_value(_value(run), criterion.value, test.comparison, test.tolerance)
            case "script":
                claimed, checks, calls, handles = _script_claim(run)
                enough = checks >= max(criterion.checks, 1) and calls >= 1
                passed = claimed and enough and handles <= criterion.handles
        passed = passed and has_files(run, test)
    except (ValueError, RecursionError, OverflowError, TypeError):
        return Verdict.ERROR
    return Verdict.PASSED if passed else Verdict.FAILED


def _value(run: CaseRun) -> object:
    if run.value is None:
        raise values.ValueRefusedError("no value")
    return values.decode(run.value)


def _script_claim(run: CaseRun) -> tuple[bool, int, int, int]:
    claim = _value(run)
    if not (type(claim) is tuple and [type(part) for part in claim] == [bool, int, int, int]):
        raise values.ValueRefusedError("not the result of a script")
    return claim


def _reference_value(test: TestCase, reference: CaseRun | None) -> object:
    if reference is None:
        raise ValueError(f"expected: missing for {test.call or 'stdin'!r}, and the task has no reference to ask")
    if reference.outcome is not Outcome.OK:
        raise ValueError(
            f"the reference ended in {reference.outcome} ({reference.note}) on {test.call or 'stdin'!r}"
        )
    return reference.stdout.decode("utf-8", "replace") if test.kind == "stdin" else _value(reference)


def _literal(test: TestCase) -> object:
    try:
        return ast.literal_eval(test.expected or "")
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"expected value of {test.call!r} is not a Python literal: {error}") from error
