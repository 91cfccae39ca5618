from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.records import Task, TestCase, Verdict
from reward_service.scoring import Scorer
from sandbox.jail import JailSandbox
from sandbox.types import CaseRun, Limits, Outcome, Program
from sandbox.values import encode

TASK = Task(
    id="add",
    prompt="",
    prefix="def add(a, b):\n",
    tests=(TestCase(call="add(1, 2)", expected="3"), TestCase(call="add(2, 2)", expected="4")),
)
GOOD, HALF, BAD = "    return a + b\n", "    return 4\n", "    return None\n"


class FakeSandbox:
    """Answers every case with ``answer(source, case)``."""

    slots = 2

    def __init__(self, answer: Callable[[str, str], CaseRun]) -> None:
        self.programs: list[str] = []
        self._answer = answer

    def run(self, program: Program, limits: Limits) -> list[CaseRun]:
        self.programs.append(program.source)
        return [self._answer(program.source, case.id) for case in program.cases]

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def sandbox():
    with JailSandbox(2) as shared:
        yield shared


def test_rewards_of_a_group(sandbox) -> None:
    scores = Scorer(sandbox).score_group(TASK, [GOOD, HALF, BAD, "return", GOOD])
    assert [score.reward for score in scores] == [2.5, 1.5, 0.5, 0.0, 2.5]
    assert [score.components["tests"] for score in scores] == [1.0, 0.5, 0.0, 0.0, 1.0]
    assert [score.passed for score in scores] == [True, False, False, False, True]
    assert scores[1].verdicts == (Verdict.FAILED, Verdict.PASSED)
    assert scores[3].verdicts == (Verdict.ERROR, Verdict.ERROR)
    assert not any(score.masked for score in scores)


def test_all_or_nothing_and_weights(sandbox) -> None:
    scorer = Scorer(sandbox, test_reward="all_or_nothing", tests_weight=1.0, format_weight=0.25)
    assert [score.reward for score in scorer.score_group(TASK, [GOOD, HALF])] == [1.25, 0.25]


@pytest.mark.parametrize(
    "cheat",
    [
        "    import os; os._exit(0)\n",
        "    import sys; sys.exit(0)\n",
        "    return type('E', (int,), {'__eq__': lambda *_: True, '__hash__': int.__hash__})()\n",
        "    import sys; f = sys._getframe()\n    while f: return f.f_locals.get('expected'), f.f_locals\n",
        "    import os\n    for i in range(64):\n        try: os.write(i, b'\\x03\\0\\0\\0{\"ok\":true}')\n"
        "        except OSError: pass\n",
    ],
)
def test_no_cheat_passes(sandbox, cheat: str) -> None:
    (score,) = Scorer(sandbox).score_group(TASK, [cheat])
    assert Verdict.PASSED not in score.verdicts
    assert score.components["tests"] == 0.0


def test_stdin_tasks(sandbox) -> None:
    task = Task(id="s", prompt="", completion="fenced", tests=(TestCase(kind="stdin", stdin="2\n", expected="4"),))
    (score,) = Scorer(sandbox).score_group(task, ["```python\nprint(int(input()) ** 2)\n```\n"])
    assert score.reward == 2.5


def _ok(value: object) -> Callable[[str, str], CaseRun]:
    return lambda source, case: CaseRun(case, Outcome.OK, value=encode(value, 100))


def test_equal_programs_run_once_and_are_remembered() -> None:
    fake = FakeSandbox(_ok(3))
    scorer = Scorer(fake)
    first = scorer.score_group(TASK, [GOOD, GOOD, BAD])
    assert len(fake.programs) == 2
    assert scorer.score_group(TASK, [GOOD, GOOD, BAD]) == first
    assert len(fake.programs) == 2
    other = TASK.model_copy(update={"tests": TASK.tests[:1]})
    scorer.score_group(other, [GOOD])
    assert len(fake.programs) == 3


def test_the_cache_is_bounded() -> None:
    fake = FakeSandbox(_ok(3))
    scorer = Scorer(fake, cache_size=1)
    for text in (GOOD, BAD, GOOD):
        scorer.score_group(TASK, [text])
    assert len(fake.programs) == 3


@pytest.mark.parametrize("outcome", [Outcome.INFRA, Outcome.TIMEOUT])
def test_our_failures_are_masked_and_not_remembered(outcome: Outcome) -> None:
    fake = FakeSandbox(lambda source, case: CaseRun(case, outcome if case == "1" else Outcome.ERROR))
    scorer = Scorer(fake)
    for _ in range(2):
        (score,) = scorer.score_group(TASK, [GOOD])
        assert score.masked is (outcome is Outcome.INFRA)
    assert len(fake.programs) == 2


def test_text_without_a_program_is_an_error_without_a_run() -> None:
    fake = FakeSandbox(_ok(3))
    (score,) = Scorer(fake).score_group(TASK.model_copy(update={"completion": "fenced"}), ["no code"])
    assert (score.reward, score.masked, fake.programs) == (0.0, False, [])
    assert score.verdicts == (Verdict.ERROR, Verdict.ERROR)


def test_a_malformed_task_is_an_error_before_any_run() -> None:
    fake = FakeSandbox(_ok(3))
    broken = TASK.model_copy(update={"tests": (TestCase(call="f()", expected="f"),)})
    with pytest.raises(ValueError, match="not a Python literal"):
        Scorer(fake).score_group(broken, [GOOD])
    assert fake.programs == []
