from __future__ import annotations

from decimal import Decimal

import pytest

from common.records import Task, TestCase, Verdict
from sandbox.inside.claims import Claim
from sandbox.inside.values import encode
from sandbox.judge.verdict import criterion_of, judge, program_for
from sandbox.types import CaseRun, Outcome

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "expected", "passed"),
    [
        (1, "1", True),
        (1, "2", False),
        (True, "1", True),
        (1.0, "1", True),
        (0.1 + 0.2, "0.3", False),
        ([1, 2], "[1, 2]", True),
        ([1, 2], "(1, 2)", False),
        ({1}, "{1}", True),
        (frozenset({1}), "{1}", True),
        (set(), "set()", True),
        (None, "None", True),
        ("1", "1", False),
        ({"a": [1]}, "{'a': [1]}", True),
        (float("nan"), "1", False),
        (-1, "-1", True),
        (2j, "2j", True),
        (b"a", "b'a'", True),
        (Decimal("1.50"), "1.5", True),
        (Decimal("sNaN"), "1.5", None),
    ],
)
def test_calls(value: object, expected: str, passed: bool | None) -> None:
    test = TestCase(kind="call", call="f()", expected=expected)
    verdict = judge(CaseRun("0", Outcome.OK, value=encode(value, 1000)), test, criterion_of(test))
    assert verdict is {True: Verdict.PASSED, False: Verdict.FAILED, None: Verdict.ERROR}[passed]


@pytest.mark.parametrize(
    ("printed", "expected", "passed"),
    [
        (b"3\n", "3", True),
        (b"3", "3\n", True),
        (b" 1 2 \r\n3\n\n", "1 2\n3", True),
        (b"1 2", "1  2", False),
        (b"1\n\n2", "1\n2", False),
        (b"", "", True),
        (b"\xff", "3", False),
        (b"34", "3", False),
    ],
)
def test_stdin(printed: bytes, expected: str, passed: bool) -> None:
    test = TestCase(kind="stdin", stdin="", expected=expected)
    assert judge(CaseRun("0", Outcome.OK, stdout=printed), test, criterion_of(test)) is (
        Verdict.PASSED if passed else Verdict.FAILED
    )


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.ERROR, Verdict.ERROR),
        (Outcome.CRASH, Verdict.ERROR),
        (Outcome.TIMEOUT, Verdict.TIMEOUT),
        (Outcome.MEMORY, Verdict.MEMORY),
        (Outcome.OUTPUT, Verdict.OUTPUT),
        (Outcome.INFRA, Verdict.INFRA),
        (Outcome.SKIPPED, Verdict.SKIPPED),
    ],
)
def test_other_outcomes_never_pass(outcome: Outcome, verdict: Verdict) -> None:
    for test in (TestCase(kind="call", call="f()", expected="1"), TestCase(kind="stdin", expected="1")):
        assert judge(CaseRun("0", outcome, stdout=b"1", value=encode(1, 100)), test, criterion_of(test)) is verdict


@pytest.mark.parametrize("value", [None, b"", b"nonsense", b'["q"]'])
def test_a_malformed_claim_is_an_error(value: bytes | None) -> None:
    test = TestCase(kind="call", call="f()", expected="None")
    assert judge(CaseRun("0", Outcome.OK, value=value), test, criterion_of(test)) is Verdict.ERROR


def test_a_malformed_task_is_reported() -> None:
    with pytest.raises(ValueError, match="not a Python literal"):
        criterion_of(TestCase(kind="call", call="f()", expected="f(1)"))


def test_the_expected_value_stays_outside() -> None:
    tests = (TestCase(call="f()", expected="'the answer'"), TestCase(kind="stdin", expected="the answer"))
    program = program_for("def f(): pass", Task(id="t", prompt="p", tests=tests))
    assert "the answer" not in repr(program)


OBJECTS, ARGUMENTS = frozenset({"f()#1 length", "f()#1.x"}), frozenset({"f()#1 changes 0"})


def claimed(claim: Claim) -> CaseRun:
    return CaseRun("0", Outcome.OK, value=claim.encode(1000))


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim(True, 2, 1, OBJECTS, ARGUMENTS), Verdict.PASSED),
        (Claim(True, 3, 9), Verdict.PASSED),
        (Claim(True, 1, 1, OBJECTS), Verdict.FAILED),  # a check was skipped
        (Claim(True, 2, 0, OBJECTS), Verdict.FAILED),  # a test that never called the solution says nothing
        # An object where the reference gave data: it may say anything.
        (Claim(True, 2, 1, OBJECTS | {"f()#2 length"}), Verdict.FAILED),
        # An argument that the reference leaves alone: the test may compare with it.
        (Claim(True, 2, 1, OBJECTS, frozenset({"f()#1 changes 1"})), Verdict.FAILED),
        (Claim(False, 2, 1, OBJECTS), Verdict.FAILED),
    ],
)
def test_scripts(claim: Claim, verdict: Verdict) -> None:
    test = TestCase(kind="script", script="assert f()")
    criterion = criterion_of(test, claimed(Claim(True, 2, 1, OBJECTS, ARGUMENTS)))
    assert judge(claimed(claim), test, criterion) is verdict


@pytest.mark.parametrize(
    "claim",
    [(1, 2, 1, [], []), (True, 2, 1), (True, True, 1, [], []), (True, 2, 1, [3], []), 5],
)
def test_a_malformed_claim_of_a_script_is_an_error(claim: object) -> None:
    test = TestCase(kind="script", script="assert f()")
    run = CaseRun("0", Outcome.OK, value=encode(claim, 100))
    assert judge(run, test, criterion_of(test, claimed(Claim(True, 2, 1)))) is Verdict.ERROR


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim(True, 1, 1), Verdict.PASSED),
        (Claim(True, 0, 1), Verdict.FAILED),  # a test without checks says nothing
        (Claim(True, 1, 1, OBJECTS), Verdict.FAILED),
        (Claim(True, 1, 1, changes=ARGUMENTS), Verdict.FAILED),
        # Nobody knows whether the test wants an exception, or what a constant is; nothing wants a loop to end.
        (Claim(True, 1, 1, frozenset({"f()#1 raises", "SIZE is 0x3"})), Verdict.PASSED),
        (Claim(True, 1, 1, frozenset({"f()#1 stops"})), Verdict.FAILED),
    ],
)
def test_scripts_without_a_reference(claim: Claim, verdict: Verdict) -> None:
    test = TestCase(kind="script", script="assert f()")
    assert judge(claimed(claim), test, criterion_of(test)) is verdict


def test_a_reference_gives_what_is_not_written_down() -> None:
    test = TestCase(call="f()")
    criterion = criterion_of(test, CaseRun("0", Outcome.OK, value=encode([1], 100)))
    assert judge(CaseRun("0", Outcome.OK, value=encode([1], 100)), test, criterion) is Verdict.PASSED
    assert judge(CaseRun("0", Outcome.OK, value=encode([2], 100)), test, criterion) is Verdict.FAILED
    undefined = criterion_of(test, CaseRun("0", Outcome.OK, value=encode({"a": [NAN]}, 100)))
    assert judge(CaseRun("0", Outcome.OK, value=encode({"a": [NAN]}, 100)), test, undefined) is Verdict.PASSED
    assert judge(CaseRun("0", Outcome.OK, value=encode({"a": [1.0]}, 100)), test, undefined) is Verdict.FAILED
    with pytest.raises(ValueError, match="no reference"):
        criterion_of(test)
    with pytest.raises(ValueError, match="ended in timeout"):
        criterion_of(test, CaseRun("0", Outcome.TIMEOUT))
