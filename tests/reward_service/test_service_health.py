from __future__ import annotations

import pytest

from common.records import Task
from reward_service.completions import Completions
from reward_service.http.health import Prober, Readiness
from reward_service.scoring import Scorer
from sandbox.types import CaseRun, Outcome
from tests.reward_service.scoring_tools import GOOD, TASK, FakeSandbox, outcome, value


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ready_once_something_came_back_and_while_that_is_recent() -> None:
    clock = Clock()
    readiness = Readiness(clock)
    assert readiness.problem() == "the sandbox has not been tried yet"
    readiness.works()
    assert readiness.problem() is None
    clock.now = 100.0
    assert (readiness.problem(), readiness.age) == (None, 100.0)
    clock.now = 130.0
    assert readiness.problem() == "no program came back from the sandbox for 130 s"
    readiness.fails("broken")
    assert readiness.problem() == "broken"


@pytest.mark.parametrize("ended", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.MEMORY, Outcome.CRASH])
def test_a_program_that_fails_is_a_sandbox_that_works(ended: Outcome) -> None:
    readiness = Readiness()
    readiness.observe_run(CaseRun("x", ended))
    assert readiness.problem() is None
    readiness.observe_run(CaseRun("x", Outcome.INFRA, note="the runner is gone"))
    assert readiness.problem() == "the sandbox failed: the runner is gone"


def test_scores_are_signs_where_a_program_ran() -> None:
    readiness = Readiness()
    broken = Scorer(FakeSandbox(outcome(Outcome.INFRA, "no slot")), on_scored=readiness.observe)
    broken.examine(Completions(TASK, [GOOD]))
    assert readiness.problem() == "the sandbox failed: no slot"
    fenced = Task.model_validate({**TASK.model_dump(), "completion": "fenced"})
    working = Scorer(FakeSandbox(value(3)), on_scored=readiness.observe)
    working.examine(Completions(fenced, ["no program in here"]))
    assert readiness.problem() == "the sandbox failed: no slot"
    (score,) = working.score_group(TASK, [GOOD])
    assert score.components["tests"] == 0.5
    assert readiness.problem() is None
    for scorer in (broken, working):
        scorer.close()


def test_a_probe_must_have_the_right_answer() -> None:
    readiness = Readiness()
    for stdout, problem in ((b"42\n", None), (b"41\n", "the sandbox printed b'41\\n' for 6 * 7")):
        prober = Prober(FakeSandbox(lambda _, case, said=stdout: CaseRun(case.id, Outcome.OK, said)), readiness)
        prober.probe()
        prober.close()
        assert readiness.problem() == problem
