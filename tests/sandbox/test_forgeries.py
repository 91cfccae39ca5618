"""Wrong solutions that try to pass: none ever does, at any level.

They try every kind of test at the strongest level, and the split judge at all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.records import Task, Verdict
from sandbox.judge.verdict import criterion_of, judge, program_for
from sandbox.types import CaseRun, Limits, Sandbox
from tests.sandbox import kinds, levels, programs

LIMITS = Limits(cpu_s=2.0, wall_s=20.0, memory_mb=256, out_bytes=1 << 16)
SHORT = Limits(cpu_s=0.2, wall_s=0.5, memory_mb=256, out_bytes=1 << 16)


# What is judged is the same at every level; what separates the tests from the solution is not.
SPLIT_JUDGE = ("assert",)
KINDS = dict.fromkeys(levels.NAMES, SPLIT_JUDGE) | {
    levels.STRONGEST: tuple(kinds.TASKS),
    "docker": ("call", "assert", "class"),
}
PAIRS = [pytest.param(level, kind, id=f"{level}-{kind}") for level in levels.NAMES for kind in KINDS[level]]


def run(
    sandbox: Sandbox, source: str, task: Task, *, in_process: bool = False, limits: Limits = LIMITS
) -> list[CaseRun]:
    return sandbox.run(program_for(source, task, in_process=in_process), limits)


def verdicts(runs: list[CaseRun], task: Task, reference: list[CaseRun]) -> list[Verdict]:
    return [
        judge(run, test, criterion_of(test, of_reference))
        for run, test, of_reference in zip(runs, task.tests, reference, strict=True)
    ]


@pytest.mark.parametrize(("level", "kind"), PAIRS)
def test_a_right_solution_passes(backend_at: Callable[[str], levels.Backend], level: str, kind: str) -> None:
    task = kinds.TASKS[kind]
    runs = run(backend_at(level).sandbox, kinds.SOLUTION, task)
    assert [run.note for run in runs] == [""] * len(runs)
    assert set(verdicts(runs, task, runs)) == {Verdict.PASSED}


@pytest.mark.parametrize(("level", "kind"), PAIRS)
def test_no_forgery_passes(backend_at: Callable[[str], levels.Backend], level: str, kind: str) -> None:
    task = kinds.TASKS[kind]
    sandbox = backend_at(level).sandbox
    reference = run(sandbox, kinds.SOLUTION, task)
    complaints = []
    for forgery in programs.forgeries():
        runs = run(sandbox, forgery.source, task, limits=SHORT if forgery.hangs else LIMITS)
        for test, verdict in zip(task.tests, verdicts(runs, task, reference), strict=True):
            if verdict is Verdict.INFRA or (verdict is Verdict.PASSED and kind not in forgery.passes):
                complaints.append(f"{forgery.name} ({forgery.hack}): {verdict} on {test.script or test.call!r}")
    assert complaints == []


def test_the_forgeries_are_real(backend_at: Callable[[str], levels.Backend]) -> None:
    """The same programs, judged in their own process as most graders do: many pass, and all of it is flagged."""
    task = kinds.TASKS["assert"]
    fooled = set()
    sandbox = backend_at(levels.STRONGEST).sandbox
    reference = run(sandbox, kinds.SOLUTION, task, in_process=True)
    for forgery in programs.forgeries():
        limits = SHORT if forgery.hangs else LIMITS
        runs = run(sandbox, forgery.source, task, in_process=True, limits=limits)
        if Verdict.PASSED in verdicts(runs, task, reference):
            fooled.add(forgery.name)
    assert {"always_equal_int", "always_equal_object", "agrees_with_everything"} <= fooled
    assert len(fooled) >= 15
