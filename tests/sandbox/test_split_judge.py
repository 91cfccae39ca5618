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


@pytest.mark.parametrize("module", ["import random as dice", "dice = __import__('ran' + 'dom')"])
@pytest.mark.parametrize("draw", ["dice.uniform(0, 1)", "dice.gauss(0, 1)"])
def test_a_script_draws_the_same_numbers_whatever_was_drawn_before_it(
    backend_at: Callable[[str], levels.Backend], module: str, draw: str
) -> None:
    """Otherwise a program that fails one script early would be asked for other things than its reference."""
    script = f"{module}\nassert f({draw}) == 1"
    source = "seen = set()\ndef f(x):\n    seen.add(x)\n    return len(seen)\n"
    tests = (TestCase(kind="script", script=script),) * 3
    task = Task(id="luck", prompt="", tests=tests, exports=("f",), reference=source)
    sandbox = backend_at(levels.STRONGEST).sandbox
    criteria = judged.criteria(sandbox, task)
    assert judged.verdicts(sandbox, source, task, criteria) == [Verdict.PASSED] * 3
