"""What a test demands, where the task's own reference has to say it."""

from __future__ import annotations

import pytest

from common.records import Task, TestCase, Verdict
from reward_service.scoring import Scorer
from sandbox.inside.claims import Claim
from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, CaseRun, Outcome, Program
from tests.reward_service.scoring_tools import GOOD, FakeSandbox, outcome, value

ASKING = Task(
    id="asks",
    prompt="",
    prefix="def add(a, b):\n",
    tests=(
        TestCase(call="add(1, 2)"),
        TestCase(call="add(2, 2)", expected="4"),
        TestCase(call="add(0.1, 0.2)", comparison="close", tolerance=1e-6),
    ),
    reference=GOOD,
)
SCRIPTED = Task(
    id="scripted",
    prompt="",
    prefix="def add(a, b):\n",
    tests=(TestCase(kind="script", script="assert add(1, 2) == 3\nassert add(2, 2) == 4"),),
    exports=("add",),
    reference=GOOD,
)
WRONG = "    return 7\n"


def claims(**by_mode: Claim | None) -> FakeSandbox:
    """Scripts of the reference's program say ``split`` or ``own``; those of others the ``other`` claim."""

    def answer(program: Program, case: Case) -> CaseRun:
        mode = "own" if program.in_process else "split"
        claim = by_mode[mode] if GOOD in program.source else by_mode["other"]
        if claim is None:
            return CaseRun(case.id, Outcome.ERROR, note="TypeError: a proxy is no number")
        return CaseRun(case.id, Outcome.OK, value=claim.encode(1000))

    return FakeSandbox(answer)


def test_what_the_reference_gives_is_what_is_expected(sandbox: JailSandbox) -> None:
    scorer = Scorer(sandbox)
    good, wrong = scorer.score_group(ASKING, ["    return b + a\n", "    return 4\n"])
    assert good.passed
    assert wrong.verdicts == (Verdict.FAILED, Verdict.PASSED, Verdict.FAILED)
    reads = (TestCase(kind="stdin", stdin="x"),)
    lines = ASKING.model_copy(update={"tests": reads, "reference": "    pass\nprint(5)"})
    scores = scorer.score_group(lines, ["    1\nprint(' 5 ')", GOOD])
    assert [score.passed for score in scores] == [True, False]


def test_the_reference_runs_once_a_task_and_only_where_it_is_needed() -> None:
    fake = FakeSandbox(value(3))
    scorer = Scorer(fake)
    for _ in range(2):
        scorer.score_group(ASKING, [WRONG])
    assert [GOOD in program.source for program in fake.programs] == [True, False]
    known = ASKING.model_copy(update={"tests": ASKING.tests[1:2]})
    scorer.score_group(known, [WRONG])
    assert len(fake.programs) == 3


def test_scripts_in_a_real_sandbox(sandbox: JailSandbox) -> None:
    scorer = Scorer(sandbox, hacking_probe=1.0)
    texts = ["    return b + a\n", WRONG, "    import os; os._exit(0)\n"]
    good, wrong, hack = scorer.score_group(SCRIPTED, texts)
    assert (good.verdicts, wrong.verdicts) == ((Verdict.PASSED,), (Verdict.FAILED,))
    assert not hack.passed
    assert not any(score.forgeable for score in (good, wrong, hack))
    scorer.close()
    found = scorer.metrics.collect()
    assert (found["scoring/hacking_probes"], found["scoring/hacking_detected"]) == (2, 1)


def test_a_script_that_looks_into_the_solution_is_forgeable(sandbox: JailSandbox) -> None:
    looks = TestCase(
        kind="script", script="import types\nassert type(add) is types.FunctionType\nassert add(1, 2) == 3"
    )
    task = SCRIPTED.model_copy(update={"tests": (looks,)})
    with pytest.raises(ValueError, match=r"reward\.allow_forgeable: true"):
        Scorer(sandbox).score_group(task, [GOOD])
    good, wrong = Scorer(sandbox, allow_forgeable=True).score_group(task, [GOOD, WRONG])
    assert (good.passed, good.forgeable) == (True, True)
    assert (wrong.passed, wrong.forgeable) == (False, True)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim(True, 2, 3), Verdict.PASSED),
        (Claim(True, 1, 3), Verdict.FAILED),
        (Claim(True, 2, 0), Verdict.FAILED),
    ],
)
def test_a_script_passes_with_as_many_checks_as_the_reference(claim: Claim, verdict: Verdict) -> None:
    (score,) = Scorer(claims(split=Claim(True, 2, 2), other=claim)).score_group(SCRIPTED, [WRONG])
    assert score.verdicts == (verdict,)
    assert not score.forgeable


def test_a_script_without_a_reference_needs_one_check() -> None:
    task = SCRIPTED.model_copy(update={"reference": None})
    (score,) = Scorer(claims(other=Claim(True, 1, 1))).score_group(task, [WRONG])
    assert score.passed


@pytest.mark.parametrize("split", [None, Claim(False, 1, 1), Claim(True, 0, 1), Claim(True, 1, 0)])
def test_scripts_that_need_the_very_objects_are_judged_in_process_if_allowed(split: Claim | None) -> None:
    fake = claims(split=split, own=Claim(True, 2, 2), other=Claim(True, 2, 2))
    scorer = Scorer(fake, allow_forgeable=True)
    (score,) = scorer.score_group(SCRIPTED, [WRONG])
    assert score.passed
    assert score.forgeable
    assert [program.in_process for program in fake.programs] == [False, True, True]
    assert scorer.metrics.collect()["scoring/forgeable_passes"] == 1
    with pytest.raises(ValueError, match=r"'scripted', tests\.0: .*reward\.allow_forgeable: true"):
        Scorer(claims(split=split, own=Claim(True, 2, 2))).score_group(SCRIPTED, [WRONG])


def test_a_task_that_asks_for_its_own_process_needs_permission() -> None:
    task = SCRIPTED.model_copy(update={"in_process": True})
    with pytest.raises(ValueError, match=r"in_process: .*reward\.allow_forgeable: true"):
        Scorer(claims()).score_group(task, [WRONG])
    (score,) = Scorer(claims(own=Claim(True, 2, 2), other=Claim(True, 2, 2)), allow_forgeable=True).score_group(
        task, [GOOD]
    )
    assert score.forgeable


def test_a_reference_that_never_passes_makes_the_task_malformed() -> None:
    scorer = Scorer(claims(split=None, own=None), allow_forgeable=True)
    with pytest.raises(ValueError, match=r"does not pass it \(TypeError: a proxy is no number\)"):
        scorer.score_group(SCRIPTED, [WRONG])


def test_a_reference_that_takes_too_long_is_no_reason_to_trust_the_solution() -> None:
    scorer = Scorer(FakeSandbox(outcome(Outcome.TIMEOUT, "more than 4 s")), allow_forgeable=True)
    with pytest.raises(ValueError, match=r"tests\.0: the reference takes more than 4 s; raise reward"):
        scorer.score_group(SCRIPTED, [WRONG])


@pytest.mark.parametrize(
    ("reference", "message"), [(None, "no reference to ask"), (GOOD, r"tests\.0: the reference ended in error")]
)
def test_a_value_that_nobody_gives_makes_the_task_malformed(reference: str | None, message: str) -> None:
    task = ASKING.model_copy(update={"reference": reference})
    with pytest.raises(ValueError, match=message):
        Scorer(FakeSandbox(outcome(Outcome.ERROR))).score_group(task, [WRONG])


def test_our_failure_on_the_reference_masks_the_group_and_is_not_remembered() -> None:
    fake = FakeSandbox(
        lambda program, case: (outcome(Outcome.INFRA, "gone") if len(fake.programs) <= 2 else value(3))(
            program, case
        )
    )
    scorer = Scorer(fake)
    assert [score.excluded for score in scorer.score_group(ASKING, [WRONG, GOOD])] == [True, True]
    assert len(fake.programs) == 2
    assert [score.excluded for score in scorer.score_group(ASKING, [WRONG, GOOD])] == [False, False]


def test_a_test_that_evaluates_an_answer_is_forgeable(sandbox: JailSandbox) -> None:
    evaluates = TestCase(kind="script", script="assert eval(f'{add(1, 2)}') == 3")
    task = SCRIPTED.model_copy(update={"tests": (evaluates,)})
    with pytest.raises(ValueError, match=r"makes code at run time.*reward\.allow_forgeable: true"):
        Scorer(sandbox).score_group(task, [GOOD])
    good, wrong = Scorer(sandbox, allow_forgeable=True).score_group(task, [GOOD, WRONG])
    assert [(score.passed, score.forgeable) for score in (good, wrong)] == [(True, True), (False, True)]


def test_a_program_may_change_an_argument_that_the_test_does_not_look_at(sandbox: JailSandbox) -> None:
    sorts = TestCase(kind="script", script="x = [3, 1]\nassert order(x) == [1, 3]")
    keeps = TestCase(kind="script", script="x = [3, 1]\nassert order(x) == [1, 3]\nassert x == [3, 1]")
    task = Task(
        id="order",
        prompt="",
        prefix="def order(x):\n",
        tests=(sorts, keeps),
        exports=("order",),
        reference="    return sorted(x)\n",
    )
    good, changes = Scorer(sandbox).score_group(task, ["    return sorted(x)\n", "    x.sort()\n    return x\n"])
    assert good.passed
    assert changes.verdicts == (Verdict.PASSED, Verdict.FAILED)


def test_without_a_reference_only_calls_that_answer_none_change_their_arguments(sandbox: JailSandbox) -> None:
    changed = TestCase(kind="script", script="x = [3, 1]\norder(x)\nassert x == [1, 3]")
    compared = TestCase(kind="script", script="x = [3, 1]\nassert (order(x) or x) == sorted(x)")
    task = Task(id="order", prompt="", prefix="def order(x):\n", tests=(changed, compared), exports=("order",))
    good, forged = Scorer(sandbox).score_group(
        task, ["    x.sort()\n", "    x.clear()\n    return [0][1:] or x\n"]
    )
    assert good.passed
    assert forged.verdicts == (Verdict.FAILED, Verdict.FAILED)
