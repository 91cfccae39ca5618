"""Answers that are an assertion: the side of it that a task wants."""

from __future__ import annotations

import ast

import pytest

from common.records import Task
from reward_service.assertions import asserted_part
from reward_service.extraction import format_score, program_of


@pytest.mark.parametrize(
    ("answer", "call", "value"),
    [
        ("assert f(17) == 17", "f(17)", "17"),
        ("assert f(17) == 17\n[/ANSWER]\n\n[PYTHON]\n[ANSWER]\nassert f(1) == 2", "f(17)", "17"),
        ("I think so.\n[ANSWER]\nassert 'b' == f('a', k=[1])  # done\n[/ANSWER]", "f('a', k=[1])", "'b'"),
        ("Sure:\n```python\ndef f(x):\n    return x\nassert f(1) == 1\n```\nThat is it.", "f(1)", "1"),
        ("assert f(17) == ??\nbecomes\nassert f(17) == [1,\n  2]\n", "f(17)", "[1, 2]"),
        ("  assert g(1) == 2\n  assert f(1) == (2, 3), 'why'\n", "f(1)", "(2, 3)"),
        ("f(17) == 17", "f(17)", "17"),
        ("f(17)", "f(17)", "f(17)"),
        ("'a'\nsince it is so", None, "'a'"),
        ("```\n{'a': 1}\n```", None, "{'a': 1}"),
        ("assert f(17)", None, None),
        ("assert f(1) != 2", None, None),
        ("assert f(1) == 2 == 3", None, None),
        ("assert 1 == 1", None, None),
        ("It would be 17.", None, None),
        ("", None, None),
        ("(" * 5000, None, None),
        ("x = 3", None, None),
    ],
)
def test_the_sides_of_an_answer(answer: str, call: str | None, value: str | None) -> None:
    for part, expected in (("asserted_call", call), ("asserted_value", value)):
        found = asserted_part(answer, part, "f")
        assert (found is None) == (expected is None), (part, found)
        if found is not None and expected is not None:
            assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(expected))


def test_a_side_goes_behind_the_prefix_of_its_task() -> None:
    task = Task(id="o", prompt="?", prefix="answer = ", completion="asserted_value", entry_point="f", tests=())
    program = program_of(task, "assert f(17) == 17")
    assert program == "answer = 17"
    assert format_score(task, "assert f(17) == 17", program) == 1.0
    assert program_of(task, "I do not know.") is None
    assert format_score(task, "I do not know.", None) == 0.0
