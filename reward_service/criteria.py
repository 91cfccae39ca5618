"""Grading criteria: what passing each test of a task takes, asking its reference where the task does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.records import Task, TestCase, Verdict
from reward_service.program_budget import Cost
from sandbox.judge.verdict import Criterion, criterion_of, judge, program_for
from sandbox.types import CaseRun, Outcome, Program


class MalformedTaskError(ValueError):
    """A task whose completions cannot be judged; the message names the task, the field and the remedy."""


class ReferenceUnavailableError(RuntimeError):
    """The sandbox failed while it ran a reference: our failure, not the task's."""


@dataclass(frozen=True)
class GradingCriteria:
    """The criteria by which the programs of one task are judged, one for each of ``tests``.

    ``in_process``: scripts run in the program's own process, where it could forge what they say. ``cost``: what
    the reference took, None where it was not run.
    """

    tests: tuple[Criterion, ...]
    in_process: bool = False
    cost: Cost | None = None


def asks_reference(task: Task) -> bool:
    """Tell whether the criteria of this task come from running its reference."""
    return task.reference is not None and any(map(_is_open, task.tests))


def criteria_without_reference(task: Task, *, allow_forgeable: bool) -> GradingCriteria:
    """Take the criteria from the task alone.

    Raises MalformedTaskError, also where only a reference could tell what a test expects.
    """
    _check_forgeable(task, allow_forgeable)
    return GradingCriteria(
        tuple(_criterion(task, index, None) for index in range(len(task.tests))), task.in_process
    )


def criteria_from_reference(
    task: Task, reference: str, run: Callable[[Program], Sequence[CaseRun]], *, allow_forgeable: bool
) -> GradingCriteria:
    """Run the program ``reference`` through ``run``, on all tests: one may depend on what another leaves behind.

    Scripts that the reference fails from another process, and passes in its own, are judged in the program's
    process if that is allowed. Raises MalformedTaskError and ReferenceUnavailableError.
    """
    _check_forgeable(task, allow_forgeable)
    runs = _run_reference(task, reference, run, in_process=task.in_process)
    problem = _failed_script(task, runs)
    if problem is None:
        return _criteria(task, runs, task.in_process)
    if task.in_process:
        raise MalformedTaskError(f"task {task.id!r}, {problem}; mend the task or leave it out")
    if not allow_forgeable:
        raise MalformedTaskError(
            f"task {task.id!r}, {problem}; if this test needs the solution's very objects in its own process, set "
            "reward.allow_forgeable: true, otherwise mend the task or leave it out"
        )
    runs = _run_reference(task, reference, run, in_process=True)
    problem = _failed_script(task, runs)
    if problem is not None:
        raise MalformedTaskError(f"task {task.id!r}, {problem}, in its own process as well; leave the task out")
    return _criteria(task, runs, in_process=True)


def _check_forgeable(task: Task, allowed: bool) -> None:
    if task.in_process and not allowed:
        raise MalformedTaskError(
            f"task {task.id!r}, in_process: its tests run in the solution's own process, which can make them "
            "pass; set reward.allow_forgeable: true, or leave the task out"
        )


def _is_open(test: TestCase) -> bool:
    """Tell whether the test leaves it to the reference what it expects, or how many checks it makes."""
    return test.kind == "script" or test.expected is None


def _run_reference(
    task: Task, reference: str, run: Callable[[Program], Sequence[CaseRun]], *, in_process: bool
) -> Sequence[CaseRun]:
    runs = run(program_for(reference, task, in_process=in_process))
    for index, (test, one) in enumerate(zip(task.tests, runs, strict=True)):
        if one.outcome is Outcome.INFRA:
            raise ReferenceUnavailableError(f"the sandbox failed on the reference of task {task.id!r}: {one.note}")
        if one.outcome is Outcome.TIMEOUT and _is_open(test):
            raise MalformedTaskError(
                f"task {task.id!r}, tests.{index}: the reference takes {one.note}; raise reward.cpu_seconds and "
                "reward.wall_seconds, or leave the task out"
            )
    return runs


def _failed_script(task: Task, runs: Sequence[CaseRun]) -> str | None:
    for index, (test, run) in enumerate(zip(task.tests, runs, strict=True)):
        if test.kind == "script" and not _passes_by_itself(run, test):
            return f"tests.{index}: the reference does not pass it ({_why(run)})"
    return None


def _passes_by_itself(run: CaseRun, test: TestCase) -> bool:
    """Tell whether a script passes where whatever objects it needs, and whatever it changes, are right."""
    try:
        return judge(run, test, criterion_of(test, run)) is Verdict.PASSED
    except ValueError:  # it claims nothing
        return False


def _why(run: CaseRun) -> str:
    silent = "it makes no check, or never calls the solution" if run.outcome is Outcome.OK else str(run.outcome)
    if run.note.startswith("NameError: "):
        return f"{run.note}; if the solution defines it, list it in exports"
    return run.note or silent


def _criteria(task: Task, runs: Sequence[CaseRun], in_process: bool) -> GradingCriteria:
    tests = tuple(_criterion(task, index, run) for index, run in enumerate(runs))
    return GradingCriteria(tests, in_process, Cost.of(runs))


def _criterion(task: Task, index: int, reference: CaseRun | None) -> Criterion:
    test: TestCase = task.tests[index]
    try:
        return criterion_of(test, reference)
    except ValueError as error:
        raise MalformedTaskError(f"task {task.id!r}, tests.{index}: {error}") from error
