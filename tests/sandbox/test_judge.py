from __future__ import annotations

import pytest

from common.records import Task, TestCase, Verdict
from sandbox.inside.values import encode
from sandbox.judge.verdict import criterion_of, judge, program_for
from sandbox.types import CaseRun, Outcome


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
    ],
)
def test_calls(value: object, expected: str, passed: bool) -> None:
    test = TestCase(kind="call", call="f()", expected=expected)
    verdict = judge(CaseRun("0", Outcome.OK, value=encode(value, 1000)), test, criterion_of(test))
    assert verdict is (Verdict.PASSED if passed else Verdict.FAILED)


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


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ((True, 2, 1, 3), Verdict.PASSED),
        ((True, 3, 9, 0), Verdict.PASSED),
        ((True, 1, 1, 3), Verdict.FAILED),  # a check was skipped
        ((True, 2, 0, 3), Verdict.FAILED),  # a test that never called the solution says nothing
        ((True, 2, 1, 4), Verdict.FAILED),  # an object where the reference gave data: it may say anything
        ((False, 2, 1, 3), Verdict.FAILED),
        ((1, 2, 1, 3), Verdict.ERROR),
        ([True, 2, 1, 3], Verdict.ERROR),
        ((True, 2, 1), Verdict.ERROR),
    ],
)
def test_scripts(claim: object, verdict: Verdict) -> None:
    test = TestCase(kind="script", script="assert f()")
    run = CaseRun("0", Outcome.OK, value=encode(claim, 100))
    reference = CaseRun("0", Outcome.OK, value=encode((True, 2, 1, 3), 100))
    assert judge(run, test, criterion_of(test, reference)) is verdict


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ((True, 1, 1, 0), Verdict.PASSED),
        ((True, 0, 1, 0), Verdict.FAILED),  # a test without checks says nothing
        ((True, 1, 1, 1), Verdict.FAILED),
    ],
)
def test_scripts_without_a_reference(claim: object, verdict: Verdict) -> None:
    test = TestCase(kind="script", script="assert f()")
    assert judge(CaseRun("0", Outcome.OK, value=encode(claim, 100)), test, criterion_of(test)) is verdict


def test_a_reference_gives_what_is_not_written_down() -> None:
    test = TestCase(call="f()")
    criterion = criterion_of(test, CaseRun("0", Outcome.OK, value=encode([1], 100)))
    assert judge(CaseRun("0", Outcome.OK, value=encode([1], 100)), test, criterion) is Verdict.PASSED
    assert judge(CaseRun("0", Outcome.OK, value=encode([2], 100)), test, criterion) is Verdict.FAILED
    with pytest.raises(ValueError, match="no reference"):
        criterion_of(test)
    with pytest.raises(ValueError, match="ended in timeout"):
        criterion_of(test, CaseRun("0", Outcome.TIMEOUT))
