"""Wrong solutions that try to pass: none ever does, at any level.

They try every kind of test at the strongest level, and the split judge at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from common.records import Verdict
from sandbox.judge.verdict import program_for
from sandbox.types import Limits
from tests.sandbox import forgery_kinds, kinds, levels, node, programs
from tests.sandbox.forged import complaint
from tests.sandbox.judged import LIMITS, criteria, verdicts

SHORT = Limits(cpu_s=0.2, wall_s=0.5, memory_mb=256, out_bytes=1 << 16)


# What is judged is the same at every level; what separates the tests from the solution is not.
SPLIT_JUDGE = ("assert",)
KINDS = dict.fromkeys(levels.NAMES, SPLIT_JUDGE) | {
    levels.STRONGEST: tuple(kinds.TASKS),
    "docker": ("call", "assert", "class"),
}
PAIRS = [pytest.param(level, kind, id=f"{level}-{kind}") for level in levels.NAMES for kind in KINDS[level]]


@pytest.mark.parametrize(("level", "kind"), PAIRS)
def test_a_right_solution_passes(backend_at: Callable[[str], levels.Backend], level: str, kind: str) -> None:
    task = kinds.TASKS[kind]
    sandbox = backend_at(level).sandbox
    runs = sandbox.run(program_for(kinds.SOLUTION, task), LIMITS)
    assert [run.note for run in runs] == [""] * len(runs)
    assert set(verdicts(sandbox, kinds.SOLUTION, task, criteria(sandbox, task))) == {Verdict.PASSED}


@pytest.mark.parametrize(("level", "kind"), PAIRS)
def test_no_forgery_passes(backend_at: Callable[[str], levels.Backend], level: str, kind: str) -> None:
    task = kinds.TASKS[kind]
    sandbox = backend_at(level).sandbox
    right = criteria(sandbox, task)
    complaints = []
    for forgery in programs.forgeries():
        found = verdicts(sandbox, forgery.source, task, right, limits=SHORT if forgery.hangs else LIMITS)
        for test, verdict in zip(task.tests, found, strict=True):
            if verdict is Verdict.INFRA or (verdict is Verdict.PASSED and kind not in forgery.passes):
                complaints.append(f"{forgery.name} ({forgery.hack}): {verdict} on {test.script or test.call!r}")
    assert complaints == []


# Which of them the sandbox has a part in: comparing is the host's alone. All of them: forgery_table.py.
BY_SCRIPT = ("objects", "constants", "evaluated", "mutations", "loops", "swallowed", "hollow")
SOME = {"javascript": 5, "hollow": 8}  # each of the first takes two starts of Node more than its own
VARIANTS = [
    pytest.param(level, kind, SOME.get(kind, 24 if level == levels.STRONGEST else 20), id=f"{level}-{kind}")
    for level in levels.NAMES
    for kind in (forgery_kinds.KINDS if level == levels.STRONGEST else BY_SCRIPT)
]


@pytest.mark.parametrize(("level", "kind", "count"), VARIANTS)
def test_no_variant_of_a_kind_passes(
    backend_at: Callable[[str], levels.Backend], level: str, kind: str, count: int
) -> None:
    backend = backend_at(level)
    if kind == "javascript":
        node.require_at(backend)
    complaints = map(partial(complaint, backend.sandbox), forgery_kinds.variants(kind, count))
    assert list(filter(None, complaints)) == []


def test_the_forgeries_are_real(backend_at: Callable[[str], levels.Backend]) -> None:
    """The same programs, judged in their own process as most graders do: many pass, and all of it is flagged."""
    task = kinds.TASKS["assert"]
    fooled = set()
    sandbox = backend_at(levels.STRONGEST).sandbox
    right = criteria(sandbox, task, in_process=True)
    for forgery in programs.forgeries():
        limits = SHORT if forgery.hangs else LIMITS
        if Verdict.PASSED in verdicts(sandbox, forgery.source, task, right, in_process=True, limits=limits):
            fooled.add(forgery.name)
    assert {"always_equal_int", "always_equal_object", "agrees_with_everything"} <= fooled
    assert len(fooled) >= 15
