from __future__ import annotations

from typing import Any

import pytest

from common.records import Task, TestCase
from common.tasks.questions import as_question
from reward_service.extraction import program_of, reference_program

STUB = 'import math\n\ndef helper(x):\n    return x + 1\n\ndef area(r):\n    """Area of a disc.\n    """\n'
BODY = "    return math.pi * r ** 2\n"


def task(prefix: str = STUB, **fields: Any) -> Task:
    made = {"id": "area", "prompt": prefix, "prefix": prefix, "tests": (TestCase(call="area(1)"),), **fields}
    return Task.model_validate({"reference": BODY} | made)


def names(program: str | None) -> dict[str, Any]:
    assert program is not None
    found: dict[str, Any] = {}
    exec(program, found)
    return found


@pytest.mark.parametrize(
    "answer",
    [
        STUB + BODY,
        "def area(r):\n    return helper(math.pi * r**2 - 1)\n",
        BODY,
    ],
    ids=["the whole", "leaning on the prompt", "the body alone"],
)
def test_an_answer_in_a_chat_makes_a_program(answer: str) -> None:
    asked = as_question(task())
    assert asked.completion == "fenced"
    assert STUB.strip() in asked.prompt
    program = program_of(asked, f"Here it is:\n```python\n{answer}```\nThat was all.")
    assert names(program)["area"](1) == pytest.approx(3.14159, abs=1e-4)


def test_the_reference_is_still_right() -> None:
    assert names(reference_program(as_question(task())))["area"](2) == pytest.approx(12.56637, abs=1e-4)


def test_a_prefix_that_is_no_program_is_left_to_the_answer() -> None:
    asked = as_question(task("def area(r):\n", reference="    return 3 * r * r\n"))
    assert names(program_of(asked, "```python\ndef area(r):\n    return 0\n```"))["area"](1) == 0
    assert names(reference_program(asked))["area"](2) == 12


def test_a_question_stays_as_it_is() -> None:
    question = task(prefix="", completion="fenced", prompt="Write area(r).", reference=STUB + BODY)
    assert as_question(question) is question
