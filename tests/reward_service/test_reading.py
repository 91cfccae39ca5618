"""What models wrote is parsed within bounds, whatever it is."""

from __future__ import annotations

import ast
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from common.records import Task, TestCase
from reward_service.extraction import MAX_PROGRAM_CHARS, format_score, parses, program_of
from reward_service.http.task_check import problem_of
from reward_service.static_check import StaticCheck
from reward_service.user_rewards import Completion

_LONG = "import " + ".".join("a" * (MAX_PROGRAM_CHARS // 2 - 10))
_ASSERTED = Task(
    id="a", prompt="", completion="asserted_call", entry_point="f", tests=(TestCase(call="f()", expected="1"),)
)
_CONTINUED = Task(id="c", prompt="", tests=(TestCase(call="f()", expected="1"),))


class NoImports:
    def bound_by(self, statements: object) -> dict[str, frozenset[str] | None]:
        return {}


def test_a_text_that_takes_the_parser_long_is_given_up() -> None:
    assert not parses(_LONG)
    assert format_score(_CONTINUED, _LONG, _LONG) == 0.0
    assert StaticCheck(NoImports())(_CONTINUED, Completion(_LONG, _LONG, (), 0.0, None)) == 0.0
    assert parses("x = 1")


def test_answers_that_nest_deeply_or_begin_often_hold_no_assertion() -> None:
    nested = "assert f() == " + "-" * 900 + "1"
    assert program_of(_ASSERTED, nested) in (None, "f()")
    often = "assert (\n" * 10_000
    assert program_of(_ASSERTED, often) is None
    assert program_of(_ASSERTED, "assert f() == 1\n" + "x" * MAX_PROGRAM_CHARS) is None
    assert program_of(_ASSERTED, "assert f(17) == 1") == "f(17)"


@pytest.mark.parametrize("source", ["x = 1", "x =", "", "\0", "é = '\ud800'", "(" * 300, "-" * 5000 + "1"])
def test_what_parses_is_what_the_parser_takes(source: str) -> None:
    try:
        ast.parse(source)
        expected = True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        expected = False
    assert parses(source) is expected


def test_a_process_that_is_killed_is_replaced() -> None:
    assert parses("x")
    ours = [
        child
        for child in psutil.Process().children()
        if "reward_service.reading.reader" in " ".join(child.cmdline())
    ]
    assert ours
    for process in ours:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(ours, timeout=30)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(parses, ["x", "x =", "y", "y ="] * 20)) == [True, False, True, False] * 20


def test_a_task_is_read_within_bounds_too() -> None:
    script = TestCase(kind="script", script="assert f()")
    task = Task(id="t", prompt="", tests=(script,), reference="")
    assert "exports: is empty" in problem_of(task)
    assert problem_of(task.model_copy(update={"exports": ("f",)})) == ""
    deep = TestCase(call="f(" + "-" * 200_000 + "1)", expected="1")
    assert "tests" in problem_of(task.model_copy(update={"tests": (deep,)}))
