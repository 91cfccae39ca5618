"""A program that hangs, floods or kills costs itself the tests, and nobody else anything."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.records import Task, Verdict
from reward_service.completions import Completions
from reward_service.program_budget import BudgetRule, Cost, share
from reward_service.scoring import Scorer
from reward_service.waiting import AbandonedError
from sandbox.cancellation import Cancellation
from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, CaseRun, Limits, Outcome, Program
from tests.reward_service.hang_trials import CALLS, TASKS, Trial, innocent, spent, tried
from tests.reward_service.scoring_tools import BAD, GOOD, TASK, FakeSandbox, value
from tests.reward_service.ways_to_hang import SPENT, some_ways

_PATIENCE_S = 60.0


@pytest.mark.parametrize(("part", "task"), list(enumerate(TASKS)))
def test_no_way_to_hang_masks_a_program_or_its_neighbours(sandbox: JailSandbox, part: int, task: Task) -> None:
    # A third of all: tests/reward_service/hang_trials.py tries the rest.
    hostile = some_ways(part)
    assert len(hostile) >= 12
    assert tried(sandbox, task, hostile) == Trial([], [], [])


def test_an_answer_that_makes_a_test_hang_costs_its_program_alone(sandbox: JailSandbox) -> None:
    assert spent(sandbox, list(SPENT)[::4]) == Trial([], [], [])


def test_programs_that_hang_leave_their_group_its_deadline() -> None:
    """Six innocent programs behind as many that hang on a thousand tests, within a deadline of seconds."""
    task = CALLS.model_copy(update={"tests": CALLS.tests * 20})
    hangs = [f"def f(x):\n    while {number}: pass\n" for number in range(1, 7)]
    with JailSandbox(2) as sandbox:
        scorer = Scorer(sandbox, limits=Limits(cpu_s=0.2, wall_s=20.0), deadline_s=60.0)
        scores = scorer.score_group(task, [*hangs, *map(innocent, range(6))])
        scorer.close()
    assert [set(score.verdicts) for score in scores] == [{Verdict.TIMEOUT}] * 6 + [{Verdict.PASSED}] * 6


def test_a_program_that_uses_up_its_share_is_late_itself_and_one_that_never_began_is_not() -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def answer(program: Program, case: Case) -> CaseRun:
        if "return 0" in program.source:
            stuck.set()
            assert go_on.wait(_PATIENCE_S)
        return value(3)(program, case)

    fake = FakeSandbox(answer)
    scorer = Scorer(fake, limits=Limits(cpu_s=0.01), deadline_s=0.5)
    hung, fine, waits = scorer.score_group(TASK, ["    return 0\n", GOOD, BAD])[0:3]
    assert stuck.is_set()
    assert set(hung.verdicts) == {Verdict.TIMEOUT}
    assert not hung.excluded
    assert not fine.excluded
    assert not waits.excluded
    go_on.set()
    scorer.close()


def test_a_program_may_take_ten_times_its_reference_and_a_little_more() -> None:
    rule = BudgetRule(Limits(cpu_s=2.0, wall_s=6.0, out_bytes=1000), timeouts=3, seconds=30.0)
    given = rule.of_program(Cost(cpu_s=5.0, wall_s=6.0, result_bytes=10_000), 10, share_s=1e9)
    assert (given.timeouts, given.cpu_s, given.wall_s, given.kept_bytes) == (3, 80.0, 300.0, 40_000)
    unknown = rule.of_program(None, 10, share_s=75.0)
    assert (unknown.cpu_s, unknown.wall_s, unknown.kept_bytes) == (float("inf"), 75.0, 4000)
    assert rule.of_program(None, 10, share_s=0.1).wall_s == 2.0  # one test may take its limit
    assert rule.of_program(Cost(5.0, 6.0, 0), 10, share_s=0.1).wall_s == 12.0  # the task's fault, if it is late
    assert rule.of_reference(8.0).kept_bytes == 16_000
    assert not rule.asks_cost(15)
    assert rule.asks_cost(16)


def test_all_shares_of_a_deadline_end_before_it() -> None:
    for programs in (1, 2, 3, 16, 17, 1000):
        for slots in (1, 2, 7, 64):
            each = share(600.0, programs, slots)
            assert each * -(-programs // slots) < 600.0


def test_a_reference_tells_how_long_many_tests_may_take() -> None:
    fake = FakeSandbox(lambda program, case: CaseRun(case.id, Outcome.ERROR, cpu_s=0.5))
    many = CALLS.model_copy(update={"reference": "def f(x): return 2 * x\n"})
    Scorer(fake).score_group(many, [GOOD])
    few = many.model_copy(update={"tests": many.tests[:7]})
    Scorer(fake).score_group(few, [GOOD])
    assert ["return 2 * x" in program.source for program in fake.programs] == [True, False, False]


def test_scores_that_nobody_waits_for_end_what_runs(sandbox: JailSandbox) -> None:
    scorer = Scorer(sandbox, limits=Limits(cpu_s=500, wall_s=500))
    cancellation = Cancellation()
    hangs = [f"    while {number}: pass\n" for number in range(1, 6)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scorer.examine, Completions(TASK, hangs, cancellation=cancellation))
        while scorer.metrics.collect()["scoring/executions"] < 2:
            assert not waiting.done()
        cancellation.cancel()
        with pytest.raises(AbandonedError):
            waiting.result(_PATIENCE_S)
    scorer.close()  # waits for what runs, which had 500 seconds
    assert Scorer(sandbox).score_group(TASK, [GOOD])[0].passed


def test_one_who_leaves_takes_nothing_from_who_waits_for_the_same() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(program: Program, case: Case) -> CaseRun:
        inside.set()
        assert go_on.wait(_PATIENCE_S)
        return value(3)(program, case)

    scorer = Scorer(FakeSandbox(slow))
    leaving = Cancellation()
    with ThreadPoolExecutor(2) as pool:
        left = pool.submit(scorer.examine, Completions(TASK, [GOOD], cancellation=leaving))
        assert inside.wait(_PATIENCE_S)
        stays = pool.submit(scorer.examine, Completions(TASK, [GOOD]))
        while scorer.metrics.collect()["scoring/coalesced"] < 1:
            assert not stays.done()
        leaving.cancel()
        go_on.set()
        with pytest.raises(AbandonedError):
            left.result(_PATIENCE_S)
        assert stays.result(_PATIENCE_S)[0].score.verdicts == (Verdict.PASSED, Verdict.FAILED)
