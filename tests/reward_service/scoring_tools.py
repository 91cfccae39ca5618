"""A task and a sandbox that answers as it is told, shared by the tests of scoring."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from common.records import Task, TestCase
from sandbox.cancellation import Cancellation
from sandbox.inside.values import encode
from sandbox.types import Budget, Case, CaseRun, Limits, Outcome, Program

TASK = Task(
    id="add",
    prompt="",
    prefix="def add(a, b):\n",
    tests=(TestCase(call="add(1, 2)", expected="3"), TestCase(call="add(2, 2)", expected="4")),
)
GOOD, HALF, BAD = "    return a + b\n", "    return 4\n", "    return None\n"

Answer = Callable[[Program, Case], CaseRun]


class FakeSandbox:
    """Answers every case with ``answer(program, case)``, in order; keeps to ``stop_on``."""

    slots = 2

    def __init__(self, answer: Answer, **facts: Any) -> None:
        self.programs: list[Program] = []
        self._answer = answer
        self._facts = facts
        self._lock = threading.Lock()

    def run(
        self,
        program: Program,
        limits: Limits,
        *,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        with self._lock:
            self.programs.append(program)
        runs: list[CaseRun] = []
        for case in program.cases:
            if stop_on is not None and any(map(stop_on, runs)):
                runs.append(CaseRun(case.id, Outcome.SKIPPED))
            else:
                runs.append(self._answer(program, case))
        return runs

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return self._facts


def value(result: object) -> Answer:
    """Every case ends well, with this value."""
    return lambda program, case: CaseRun(case.id, Outcome.OK, value=encode(result, 1000))


def outcome(name: Outcome, note: str = "") -> Answer:
    return lambda program, case: CaseRun(case.id, name, note=note)
