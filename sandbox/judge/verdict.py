"""Verdicts, on the host, from what a program claimed. Pure: nothing is executed here."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from common.records import Task, TestCase, Verdict
from sandbox.inside import values
from sandbox.inside.claims import Claim
from sandbox.inside.places import IN_PLACE, UNKNOWN, beyond, unexpected
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

    ``checks``: that must have run, at least. ``uses``: what may be asked of objects of the solution, by their
    places (:mod:`sandbox.inside.places`), where it may raise, and what plain data it exports; ``changes``: the
    arguments that it may change, of calls that answer None where nothing else is known.
    """

    value: object = None
    checks: int = 1
    uses: frozenset[str] = UNKNOWN
    changes: frozenset[str] = frozenset({IN_PLACE})


def program_for(
    source: str, task: Task, criteria: Sequence[Criterion] | None = None, *, in_process: bool = False
) -> Program:
    """Return the source with the part of the task's tests that may enter the sandbox.

    ``criteria``, one for each test, are left out for the task's reference, from which they are made.
    """
    changes = [None] * len(task.tests) if criteria is None else [one.changes for one in criteria]
    return Program(
        source=source,
        cases=tuple(
            Case(
                str(index),
                test.kind,
                call=test.call,
                stdin=test.stdin,
                script=test.script,
                changes=may_change,
                files=test.files,
                collected=tuple(test.expected_files),
            )
            for index, (test, may_change) in enumerate(zip(task.tests, changes, strict=True))
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
        claim = _script_claim(reference)
        return Criterion(checks=claim.checks, uses=claim.uses, changes=claim.changes)
    if test.expected is None:
        return Criterion(_reference_value(test, reference))
    return Criterion(test.expected if test.kind == "stdin" else _literal(test))


def judge(run: CaseRun, test: TestCase, criterion: Criterion) -> Verdict:
    """Judge one run of one test.

    A script passes when its process says so, after the checks that the criterion asks for (one at least) and a
    call. What is asked of the solution's objects may be answered with a lie, and changed arguments may be what the
    test compares with: neither may go beyond what the reference does.
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
                claim = _script_claim(run)
                enough = claim.checks >= max(criterion.checks, 1) and claim.calls >= 1
                honest = not (beyond(claim.uses, criterion.uses) or unexpected(claim.changes, criterion.changes))
                passed = claim.passed and enough and honest
        passed = passed and has_files(run, test)
    except (ValueError, RecursionError, ArithmeticError, TypeError):
        return Verdict.ERROR
    return Verdict.PASSED if passed else Verdict.FAILED


def _value(run: CaseRun) -> object:
    if run.value is None:
        raise values.ValueRefusedError("no value")
    return values.decode(run.value)


def _script_claim(run: CaseRun) -> Claim:
    if run.value is None:
        raise values.ValueRefusedError("no value")
    return Claim.decode(run.value)


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
