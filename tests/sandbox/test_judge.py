from __future__ import annotations

import pytest

from common.records import TestCase, Verdict
from sandbox.judge import case_of, expected_value, judge
from sandbox.types import CaseRun, Outcome
from sandbox.values import encode


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
    verdict = judge(CaseRun("0", Outcome.OK, value=encode(value, 1000)), test)
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
    assert judge(CaseRun("0", Outcome.OK, stdout=printed), test) is (Verdict.PASSED if passed else Verdict.FAILED)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.ERROR, Verdict.ERROR),
        (Outcome.CRASH, Verdict.ERROR),
        (Outcome.TIMEOUT, Verdict.TIMEOUT),
        (Outcome.MEMORY, Verdict.MEMORY),
        (Outcome.OUTPUT, Verdict.OUTPUT),
        (Outcome.INFRA, Verdict.INFRA),
    ],
)
def test_other_outcomes_never_pass(outcome: Outcome, verdict: Verdict) -> None:
    for test in (TestCase(kind="call", call="f()", expected="1"), TestCase(kind="stdin", expected="1")):
        assert judge(CaseRun("0", outcome, stdout=b"1", value=encode(1, 100)), test) is verdict


@pytest.mark.parametrize("value", [None, b"", b"nonsense", b'["q"]'])
def test_a_malformed_claim_is_an_error(value: bytes | None) -> None:
    test = TestCase(kind="call", call="f()", expected="None")
    assert judge(CaseRun("0", Outcome.OK, value=value), test) is Verdict.ERROR


def test_a_malformed_task_is_reported() -> None:
    with pytest.raises(ValueError, match="not a Python literal"):
        expected_value(TestCase(kind="call", call="f()", expected="f(1)"))


def test_the_expected_value_stays_outside() -> None:
    case = case_of("0", TestCase(kind="call", call="f()", expected="'the answer'"))
    assert "the answer" not in repr(case)
