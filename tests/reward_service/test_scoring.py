from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.records import Task, TestCase, Verdict
from reward_service.completions import Completions
from reward_service.rewards import RewardRule
from reward_service.scoring import Scorer
from sandbox.inside.values import encode
from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, CaseRun, Outcome, Program
from tests.reward_service.scoring_tools import BAD, GOOD, HALF, TASK, FakeSandbox, outcome, value

PATIENCE_S = 20.0


def test_rewards_of_a_group(sandbox: JailSandbox) -> None:
    scores = Scorer(sandbox).score_group(TASK, [GOOD, HALF, BAD, "return", GOOD])
    assert [score.reward for score in scores] == [2.5, 1.5, 0.5, 0.0, 2.5]
    assert [score.components["tests"] for score in scores] == [1.0, 0.5, 0.0, 0.0, 1.0]
    assert [score.passed for score in scores] == [True, False, False, False, True]
    assert scores[1].verdicts == (Verdict.FAILED, Verdict.PASSED)
    assert scores[3].verdicts == (Verdict.ERROR, Verdict.ERROR)
    assert not any(score.excluded or score.forgeable for score in scores)


def test_a_report_for_each_test(sandbox: JailSandbox) -> None:
    task = TASK.model_copy(update={"completion": "fenced", "prefix": "import math\n"})
    block = "```python\ndef add(a, b):\n    return math.floor(a + b) if a == 1 else 1 / 0\n```\n"
    good, none = Scorer(sandbox).examine(Completions(task, [block, "no code"]))
    assert good.program is not None
    assert good.program.startswith("import math\ndef add")
    assert [report.verdict for report in good.tests] == list(good.score.verdicts) == ["passed", "error"]
    assert "ZeroDivisionError" in good.tests[1].note
    assert good.tests[0].wall_s > 0
    assert none.program is None
    assert {report.note for report in none.tests} == {"the completion holds no program"}


def test_all_or_nothing_runs_nothing_after_the_first_failure(sandbox: JailSandbox) -> None:
    rule = RewardRule(tests="all_or_nothing", tests_weight=1.0, format_weight=0.25)
    scores = Scorer(sandbox, rule=rule, own_process=True).score_group(TASK, [GOOD, HALF])
    assert [score.reward for score in scores] == [1.25, 0.25]
    assert scores[0].passed
    assert scores[1].verdicts == (Verdict.FAILED, Verdict.SKIPPED)


def test_a_shown_test_that_does_not_count_decides_nothing() -> None:
    fake = FakeSandbox(lambda program, case: value(3 if case.id == "1" else 0)(program, case))
    task = TASK.model_copy(update={"shown_tests": 1, "tests": (TASK.tests[0], TASK.tests[0])})
    rule = RewardRule(tests="all_or_nothing", hide_shown_test=True)
    (score,) = Scorer(fake, rule=rule).score_group(task, [GOOD])
    assert score.verdicts == (Verdict.FAILED, Verdict.PASSED)
    assert score.components["tests"] == 1.0


@pytest.mark.parametrize(
    "hack",
    [
        "    import os; os._exit(0)\n",
        "    import sys; sys.exit(0)\n",
        "    return type('E', (int,), {'__eq__': lambda *_: True, '__hash__': int.__hash__})()\n",
        "    import sys; f = sys._getframe()\n    while f: return f.f_locals.get('expected'), f.f_locals\n",
        "    import os\n    for i in range(64):\n        try: os.write(i, b'\\x03\\0\\0\\0{\"ok\":true}')\n"
        "        except OSError: pass\n",
    ],
)
def test_no_reward_hack_passes(sandbox: JailSandbox, hack: str) -> None:
    (score,) = Scorer(sandbox).score_group(TASK, [hack])
    assert Verdict.PASSED not in score.verdicts
    assert score.components["tests"] == 0.0


def test_stdin_tasks(sandbox: JailSandbox) -> None:
    task = Task(id="s", prompt="", completion="fenced", tests=(TestCase(kind="stdin", stdin="2\n", expected="4"),))
    (score,) = Scorer(sandbox).score_group(task, ["```python\nprint(int(input()) ** 2)\n```\n"])
    assert score.reward == 2.5


def test_equal_programs_run_once_and_are_remembered() -> None:
    fake = FakeSandbox(value(3))
    scorer = Scorer(fake)
    first = scorer.score_group(TASK, [GOOD, GOOD, GOOD.replace("\n", "\r\n"), BAD])
    assert len(fake.programs) == 2
    assert scorer.score_group(TASK, [GOOD, GOOD, GOOD, BAD]) == first
    assert len(fake.programs) == 2
    other = TASK.model_copy(update={"tests": TASK.tests[:1]})
    scorer.score_group(other, [GOOD])
    assert len(fake.programs) == 3
    found = scorer.metrics.collect()
    assert found["scoring/executions"] == 3
    assert found["scoring/cache_hits"] + found["scoring/coalesced"] == 2 + 4


@pytest.mark.parametrize("change", ["expected", "test_setup", "exports"])
def test_what_decides_a_verdict_is_part_of_what_is_remembered(change: str) -> None:
    fake = FakeSandbox(value(3))
    scorer = Scorer(fake)
    changed = {
        "expected": {"tests": (TestCase(call="add(1, 2)", expected="5"), TASK.tests[1])},
        "test_setup": {"test_setup": "import math"},
        "exports": {"exports": ("add",)},
    }[change]
    scorer.score_group(TASK, [GOOD])
    scorer.score_group(TASK.model_copy(update=changed), [GOOD])
    assert len(fake.programs) == 2


def test_groups_that_meet_share_the_run_of_a_program() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(program: Program, case: Case) -> CaseRun:
        inside.set()
        assert go_on.wait(PATIENCE_S)
        return CaseRun(case.id, Outcome.TIMEOUT)  # which is not remembered

    fake = FakeSandbox(slow)
    scorer = Scorer(fake)
    with ThreadPoolExecutor(2) as groups:
        first = groups.submit(scorer.score_group, TASK, [GOOD])
        assert inside.wait(PATIENCE_S)
        second = groups.submit(scorer.score_group, TASK, [GOOD, GOOD])
        while scorer.metrics.collect()["scoring/coalesced"] < 2:
            assert not second.done()
        go_on.set()
        assert second.result(PATIENCE_S) == first.result(PATIENCE_S) * 2
    assert len(fake.programs) == 1


def test_the_cache_is_bounded() -> None:
    fake = FakeSandbox(value(3))
    scorer = Scorer(fake, cache_size=1)
    for text in (GOOD, BAD, GOOD):
        scorer.score_group(TASK, [text])
    assert len(fake.programs) == 3


@pytest.mark.parametrize(("ended", "runs"), [(Outcome.INFRA, 4), (Outcome.TIMEOUT, 2)])
def test_our_failures_are_retried_excluded_and_not_remembered(ended: Outcome, runs: int) -> None:
    fake = FakeSandbox(lambda program, case: CaseRun(case.id, ended if case.id == "1" else Outcome.ERROR))
    scorer = Scorer(fake)
    for _ in range(2):
        (score,) = scorer.score_group(TASK, [GOOD])
        assert score.excluded is (ended is Outcome.INFRA)
    assert len(fake.programs) == runs


def test_a_failure_that_passes_costs_nothing() -> None:
    fake = FakeSandbox(
        lambda program, case: (value(3) if len(fake.programs) > 1 else outcome(Outcome.INFRA))(program, case)
    )
    scorer = Scorer(fake)
    (score,) = scorer.score_group(TASK, [GOOD])
    assert (score.verdicts, score.excluded) == ((Verdict.PASSED, Verdict.FAILED), False)
    assert scorer.metrics.collect()["scoring/infra_retries"] == 1


def test_what_misses_the_deadline_is_excluded_and_what_nobody_waits_for_is_not_begun() -> None:
    go_on = threading.Event()

    def stuck(program: Program, case: Case) -> CaseRun:
        assert go_on.wait(PATIENCE_S)
        return CaseRun(case.id, Outcome.OK, value=encode(3, 100))

    fake = FakeSandbox(stuck)
    scorer = Scorer(fake, deadline_s=0.2)
    texts = [f"    return {number}\n" for number in range(6)]
    scored = scorer.examine(Completions(TASK, [*texts, "no program" * 20_000]))
    assert all(one.score.excluded for one in scored[:6])
    assert {report.note for one in scored[:6] for report in one.tests} == {"not finished within 0.2 s"}
    assert not scored[6].score.excluded
    go_on.set()
    scorer.close()
    assert len(fake.programs) == fake.slots


def test_text_without_a_program_is_an_error_without_a_run() -> None:
    fake = FakeSandbox(value(3))
    (score,) = Scorer(fake).score_group(TASK.model_copy(update={"completion": "fenced"}), ["no code"])
    assert (score.reward, score.excluded, fake.programs) == (0.0, False, [])
    assert score.verdicts == (Verdict.ERROR, Verdict.ERROR)


def test_a_malformed_task_is_an_error_before_any_run() -> None:
    fake = FakeSandbox(value(3))
    broken = TASK.model_copy(update={"tests": (TASK.tests[0], TestCase(call="f()", expected="f"))})
    with pytest.raises(ValueError, match=r"task 'add', tests\.1: .*not a Python literal"):
        Scorer(fake).score_group(broken, [GOOD])
    assert fake.programs == []


def test_each_test_in_a_process_of_its_own_where_asked() -> None:
    fake = FakeSandbox(value(3))
    Scorer(fake, own_process=True).score_group(TASK, [GOOD])
    Scorer(fake).score_group(TASK, [GOOD])
    assert [program.own_process for program in fake.programs] == [True, False]
