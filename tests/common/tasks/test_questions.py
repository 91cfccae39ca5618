from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.config import PromptSettings
from common.records import Task, TestCase
from common.tasks.questions import posed
from reward_service.extraction import program_of, reference_program

STUB = 'import math\n\ndef helper(x):\n    return x + 1\n\ndef area(r):\n    """Area of a disc.\n    """\n'
BODY = "    return math.pi * r ** 2\n"
CHAT = PromptSettings(chat_template=True)


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
        "from __future__ import annotations\n\ndef area(r: Never) -> Unknown:\n    return math.pi * r**2\n",
    ],
    ids=["the whole", "leaning on the prompt", "the body alone", "with an import that must come first"],
)
@pytest.mark.parametrize("prefix", [STUB, STUB.replace('"""Area of a disc.\n    """\n', "\n")], ids=["", "bare"])
def test_an_answer_in_a_chat_makes_a_program(prefix: str, answer: str) -> None:
    asked = posed(task(prefix), CHAT)
    assert asked.completion == "fenced"
    assert STUB[:50] in asked.prompt
    program = program_of(asked, f"Here it is:\n```python\n{answer}```\nThat was all.")
    assert names(program)["area"](1) == pytest.approx(3.14159, abs=1e-4)


def test_the_reference_is_still_right() -> None:
    asked = posed(task(), CHAT)
    assert names(reference_program(asked))["area"](2) == pytest.approx(12.56637, abs=1e-4)


def test_a_prefix_that_is_no_program_is_left_to_the_answer() -> None:
    asked = posed(task("def area(r):\n    return (", reference="3 * r * r)\n"), CHAT)
    assert asked.prefix == ""
    assert names(reference_program(asked))["area"](2) == 12


def test_without_a_chat_what_is_continued_stays_as_it_is() -> None:
    assert posed(task(), PromptSettings()) == task()


def test_wordings_hold_the_task() -> None:
    question = task(prefix="", completion="fenced", prompt="Write {area}(r).", reference=STUB + BODY)
    assert posed(question, CHAT) == question
    worded = PromptSettings(chat_template=True, question_prompt="Q: {prompt}!", complete_prompt="C: {prompt}{}")
    assert posed(question, worded).prompt == "Q: Write {area}(r).!"
    assert posed(task(), worded).prompt == f"C: {STUB.strip()}{{}}"
    with pytest.raises(ValidationError, match=r"put \{prompt\} where its text goes"):
        PromptSettings(question_prompt="Write it.")
