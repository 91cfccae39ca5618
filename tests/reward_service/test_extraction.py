from __future__ import annotations

import pytest

from common.records import Task
from reward_service.extraction import MAX_PROGRAM_CHARS, format_score, parses, program_of, reference_program

CONTINUATION = Task(id="c", prompt="", prefix="def f(x):\n", tests=())
FENCED = Task(id="f", prompt="", completion="fenced", tests=())


def form(task: Task, text: str) -> float:
    return format_score(task, text, program_of(task, text))


def test_continuation_is_appended() -> None:
    assert program_of(CONTINUATION, "    return x\n") == "def f(x):\n    return x\n"
    assert form(CONTINUATION, "    return x\n") == 1.0
    assert form(CONTINUATION, "return x\n") == 0.0


@pytest.mark.parametrize(
    ("text", "program", "score"),
    [
        ("```python\nx = 1\n```\n", "x = 1\n", 1.0),
        ("Here:\n```python\nx = 1\n```\n", "x = 1\n", 1.0),
        ("```python\nx = \n```\n", "x = \n", 0.5),
        ("```python\nx = 1\n```", "x = 1\n", 1.0),
        ("```python\n    x = 1\n```\n", "    x = 1\n", 1.0),
        ("```python\nx = 1\n``` \n", "x = 1\n", 0.0),
        ("```python\nx = 1\n```\nDone.", "x = 1\n", 0.0),
        ("```python\nx = 1\n```\n```python\ny\n```\n", "x = 1\n", 0.0),
        ("```py\nx = 1\n```\n", "x = 1\n", 0.0),
        ("```python\nx = 1\n", "x = 1\n", 0.0),
        ("x = 1", None, 0.0),
        ("```\nx = 1\n```\n", None, 0.0),
        ("", None, 0.0),
    ],
)
def test_fenced(text: str, program: str | None, score: float) -> None:
    assert program_of(FENCED, text) == program
    assert form(FENCED, text) == score


@pytest.mark.parametrize(
    "source",
    [
        "(" * 10_000,
        "-" * 90_000 + "1",
        "1+" * 45_000 + "1",
        "a" + ".b" * 45_000,
        "if a:\n pass\n" + "elif a:\n pass\n" * 6_000 + "else",
        "x = '\0'",
        "\ud800",
        "9" * 10_000,
        "x" * (MAX_PROGRAM_CHARS + 1),
        "```" * 30_000,
    ],
    ids=lambda source: repr(source[:12]),
)
def test_hostile_text_is_only_unparsable(source: str) -> None:
    assert parses(source) in (True, False)
    assert form(CONTINUATION, source) == 0.0
    assert form(FENCED, f"```python\n{source}\n```\n") in (0.0, 0.5, 1.0)
    program_of(FENCED, source)


def test_oversized_text_is_no_program() -> None:
    assert program_of(CONTINUATION, "x" * MAX_PROGRAM_CHARS) is None


def test_the_prefix_goes_before_a_fenced_block() -> None:
    task = FENCED.model_copy(update={"prefix": "import math\n"})
    assert program_of(task, "```python\nprint(math.pi)\n```\n") == "import math\nprint(math.pi)\n"
    assert program_of(task, "no code") is None


def test_a_reference_follows_the_prefix_and_stands_for_a_completion() -> None:
    task = CONTINUATION.model_copy(update={"reference": "    return x\n"})
    assert reference_program(task) == program_of(task, "    return x\n") == "def f(x):\n    return x\n"
    fenced = FENCED.model_copy(update={"prefix": "import math\n", "reference": "x = 1\n"})
    assert reference_program(fenced) == program_of(fenced, "```python\nx = 1\n```\n")
    assert reference_program(FENCED) is None
