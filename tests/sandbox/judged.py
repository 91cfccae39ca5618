"""Verdicts on programs, as a task's reference defines them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.records import Task, TestCase, Verdict
from sandbox.judge.verdict import Criterion, criterion_of, judge, program_for
from sandbox.types import CaseRun, Limits, Sandbox

LIMITS = Limits(cpu_s=2.0, wall_s=20.0, memory_mb=256, out_bytes=1 << 16)


def criteria(sandbox: Sandbox, task: Task, *, in_process: bool = False) -> list[Criterion]:
    """What the task's reference does; a test that it does not pass asks for more than can be."""
    assert task.reference is not None
    runs = sandbox.run(program_for(task.reference, task, in_process=in_process), LIMITS)
    return [_criterion(test, one) for test, one in zip(task.tests, runs, strict=True)]


def verdicts(
    sandbox: Sandbox,
    source: str,
    task: Task,
    criteria: Sequence[Criterion],
    *,
    in_process: bool = False,
    limits: Limits = LIMITS,
) -> list[Verdict]:
    """What becomes of each test of the task on a program."""
    runs = sandbox.run(program_for(source, task, criteria, in_process=in_process), limits)
    return [judge(*each) for each in zip(runs, task.tests, criteria, strict=True)]


def _criterion(test: TestCase, reference: CaseRun) -> Criterion:
    try:
        return criterion_of(test, reference)
    except ValueError:
        return Criterion(checks=sys.maxsize)
