"""Right programs pass their scripts, whatever these ask of objects, functions and output in another process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.records import Task, TestCase, Verdict
from tests.sandbox import judged, levels
from tests.sandbox.right_scripts import RIGHT, Right


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: right.name)
def test_a_right_program_passes(backend_at: Callable[[str], levels.Backend], right: Right) -> None:
    sandbox = backend_at(levels.STRONGEST).sandbox
    tests = (TestCase(kind="script", script=right.script),)
    task = Task(id=right.name, prompt="", tests=tests, exports=right.exports, reference=right.solutions[0])
    criteria = judged.criteria(sandbox, task)
    for solution in right.solutions:
        assert judged.verdicts(sandbox, solution, task, criteria) == [Verdict.PASSED]
