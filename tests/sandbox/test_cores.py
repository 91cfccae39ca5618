"""Programs start on the core of their slot, but are not held to it: they may use all that the runner may."""

from __future__ import annotations

import os

import pytest

from sandbox.inside.claims import Claim
from sandbox.types import Case, CaseRun, Limits, Program
from tests.sandbox import levels

CORES = len(os.sched_getaffinity(0))
PRINTS = "import os; print(len(os.sched_getaffinity(0)))"
RETURNS = "import os\ndef cores():\n    return len(os.sched_getaffinity(0))\n"
ASSERTS = f"import os\nassert cores() == {CORES}\nassert len(os.sched_getaffinity(0)) == {CORES}"


@pytest.mark.parametrize("name", levels.NAMES)
def test_a_program_may_use_every_core(name: str, request: pytest.FixtureRequest) -> None:
    with levels.opened(name, request) as backend:

        def run(source: str, *cases: Case, exports: tuple[str, ...] = ()) -> list[CaseRun]:
            return backend.sandbox.run(Program(source, cases, exports=exports), Limits())

        alone = run(PRINTS, Case("0", "stdin"))
        inputs = run(PRINTS, *(Case(str(i), "stdin", stdin=str(i)) for i in range(3)))
        (judged,) = run(RETURNS, Case("0", "script", script=ASSERTS), exports=("cores",))
    assert [int(each.stdout) for each in (*alone, *inputs)] == [CORES] * 4
    assert judged.value is not None
    assert Claim.decode(judged.value).passed
