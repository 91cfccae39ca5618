"""The program in an answer, as an evaluation reads it: by the lenient rule, and by that of the reward."""

from __future__ import annotations

import pytest

from common.records import Task
from evaluation.extraction import Extraction
from reward_service.extraction import program_of

ONE, TWO = "def f():\n    return 1\n", "def f():\n    return 2\n"
ASKED = Task(id="q", prompt="Write f().", completion="fenced", entry_point="f", tests=())
STUB = 'import math\n\ndef f():\n    """One."""\n'
IN_CHAT = ASKED.model_copy(update={"prefix": STUB})
OPENING = "```" + "a" * 99_000 + "`"
CONTINUED = Task(id="c", prompt=STUB, prefix=STUB, entry_point="f", tests=())


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        (f"Here:\n```python\n{ONE}```\n", ONE),
        (f"```py\n{ONE}```", ONE),
        (f"```Python3\n{ONE}```", ONE),
        (f"```\n{ONE}```", ONE),
        (f"~~~~ python title=f.py\n{ONE}~~~~", ONE),
        (f"```text\n{ONE}```\nThat is all.", ONE),
        (f"```python\r\n{ONE}```", ONE),
        (f"```python\n{ONE}", ONE),
        (f"```python\n{ONE}def g(:", ONE),
        ("```python\ndef f():\n    return 1```", "def f():\n    return 1"),
        (f"1. So:\n   ```python\n   {ONE.replace(chr(10) + ' ', chr(10) + '    ')}   ```", ONE),
        (f"Here is the code: ```python\n{ONE}```\nIt works.", ONE),
        (f"Here: ```\n{ONE}```\nIt works.", ONE),
        (f"{ONE}```\nIt returns 1.", ONE),
        (f"Sure.```Python\r\n{ONE}```\nIt works.", ONE),
        ('def f():\n    """\n    ```python\n    f()\n    ```\n    """\n    return 1\n', None),
        (
            "s = 'a\u2028b\x0cc'\ndef f():\n    return 1\nThat is all.",
            "s = 'a\u2028b\x0cc'\ndef f():\n    return 1\n",
        ),
        (f"```bash\npip install f\n```\n```python\n{ONE}```", ONE),
        (f"```\nf() -> 1\n```\nor\n```\n{ONE}```\nso\n```\n1\n```", ONE),
        ("````python\ndef f():\n    '''\n    ```\n    f()\n    ```\n    '''\n    return 1\n````", None),
        ("```python\ndef f():\n    '''\n    ```\n    f()\n    ```\n    '''\n    return 1\n```", None),
        (ONE, ONE),
        (f"Sure! Note: this is short.\n\n{ONE}\nIt returns 1.", f"{ONE}\n"),
        (f"Try x = 3\nx = 3\n\nor rather\n\n{ONE}Done?", ONE),
        (f"def g():\n    return 0\n# longer than the other one\nso that\n{ONE}", ONE),
    ],
)
def test_a_block_of_any_fence_or_of_none(answer: str, program: str | None) -> None:
    found = Extraction().program(ASKED, answer)
    if program is None:  # a docstring that shows fences is a part of its function
        assert found is not None
        names: dict[str, object] = {}
        exec(found, names)
        assert "f()" in (getattr(names["f"], "__doc__", None) or "")
    else:
        assert found == program


@pytest.mark.parametrize(
    "answer", ["", "   \n", "I cannot do that.", "Sure", "Answer: 5", "```python\n```", "# only a remark\n", "```"]
)
def test_an_answer_without_code_has_no_program(answer: str) -> None:
    assert Extraction().program(ASKED, answer) is None


def test_the_first_or_the_last_block() -> None:
    answer = f"```python\n{ONE}```\nBetter:\n```python\n{TWO}```\nPrints\n```\n2\n```\n"
    assert Extraction().program(ASKED, answer) == ONE
    assert Extraction(block="last").program(ASKED, answer) == TWO


def test_the_rule_of_the_reward_is_the_rewards() -> None:
    for answer in (f"```\n{ONE}```", ONE, f"```python\n{ONE}```\n```python\n{TWO}```", "no code"):
        assert Extraction(rule="reward").program(ASKED, answer) == program_of(ASKED, answer)
    assert Extraction(rule="reward").program(ASKED, f"```\n{ONE}```") is None


@pytest.mark.parametrize("answer", [f"```\n{ONE}```", "```python\n    return 1\n```", "    return 1\n", ONE])
def test_an_answer_in_a_chat_goes_behind_what_the_prompt_defines(answer: str) -> None:
    program = Extraction().program(IN_CHAT, answer)
    assert program is not None
    assert program.startswith(STUB)
    names: dict[str, object] = {}
    exec(f"{program}\nvalue = f()", names)
    assert names["value"] == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return 1\n", "    return 1\n"),
        ("    return 1\n\n\ndef g():\n    return (", "    return 1\n\n\n"),
        ("    return 1\n```\nThis function returns 1.", "    return 1\n"),
        ("    '''Half of", ""),
        ("```python\n    return 1\n```\nSo.", "    return 1\n"),
        ("    if 1:\n        return 1\n    else", "    if 1:\n        return 1\n"),
    ],
)
def test_a_continuation_is_cut_where_it_stops_being_a_program(text: str, kept: str) -> None:
    assert Extraction(trimmed=True).program(CONTINUED, text) == STUB + kept
    assert Extraction().program(CONTINUED, text) == STUB + text


def test_hostile_answers_are_read_in_bounded_time() -> None:
    for answer in ("(" * 50_000, "(\n" * 50_000, "```\n" * 20_000, "x" * 200_000, "'''\n" * 20_000, OPENING):
        Extraction().program(ASKED, answer)
        Extraction(trimmed=True).program(CONTINUED, answer)
