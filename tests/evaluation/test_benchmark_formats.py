"""Right solutions of every benchmark pass and wrong ones do not, in a real sandbox, however tasks are put."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.records import Task
from common.tasks.formats import FORMATS
from common.tasks.loader import load_tasks
from common.tasks.questions import posed
from evaluation.templates import TEMPLATES, Template
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits
from tests.common.tasks.task_rows import (
    APPS,
    APPS_CALL,
    BIGCODEBENCH,
    CRUXEVAL,
    HUMANEVAL,
    HUMANEVAL_PLUS,
    HUMANEVAL_SCRIPT,
    LIVECODEBENCH,
    LIVECODEBENCH_CALL,
    MBPP,
    MBPP_PLUS,
    MBPP_SCRIPT,
    Fields,
    write,
)

_SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
_TIMES = (
    "class Solution:\n    def times(self, numbers: List[int], k: int):\n"
    "        return tuple(k * number for number in numbers)\n"
)
_BIGCODEBENCH = BIGCODEBENCH | {
    "test": BIGCODEBENCH["test"].replace("import numpy as np\n", "").replace("def test_three", "def no_test")
}
#: A row of each format, a right solution where the row has none, and a wrong one.
ROWS: list[tuple[str, Fields, str | None, str]] = [
    ("mbpp", MBPP, None, "def inc(x):\n    return 2\n"),
    ("mbpp+", MBPP_PLUS, None, "def add(items, item):\n    return [1, 2]\n"),
    ("mbpp+base", MBPP_PLUS, None, "def add(items, item):\n    return [1, 2]\n"),
    ("mbpp+hub", MBPP_SCRIPT, None, "def add(items, item):\n    return [0]\n"),
    ("humaneval", HUMANEVAL, None, "    return 2.0\n"),
    ("humaneval", HUMANEVAL_SCRIPT, None, "    return 2.0\n"),
    ("humaneval+", HUMANEVAL_PLUS, None, "    return 2\n"),
    ("humaneval+base", HUMANEVAL_PLUS, None, "    return 2\n"),
    ("bigcodebench", _BIGCODEBENCH, None, "    return x\n"),
    ("bigcodebench-instruct", _BIGCODEBENCH, None, "def task_func(x):\n    return x\n"),
    ("cruxeval-o", CRUXEVAL, None, "{'a': 1, 'b': 1, 'c': 1}"),
    ("cruxeval-i", CRUXEVAL, "f('aabc', 4)", "f('abc', 3)"),
    ("livecodebench", LIVECODEBENCH, _SUM, "print(3)"),
    ("livecodebench", LIVECODEBENCH_CALL, _TIMES, _TIMES.replace("k * number", "k + number")),
    ("apps", APPS, None, "print(1.5)"),
    ("apps", APPS_CALL, None, "class Solution:\n    def count(self, words, of):\n        return {}\n"),
]


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with JailSandbox(2) as sandbox:
        made = Scorer(sandbox, limits=Limits(cpu_s=10, wall_s=40), allow_forgeable=True)
        yield made
        made.close()


def answer_to(task: Task, template: Template, solution: str) -> str:
    """What a model would write that gives this solution: with what the template begins of it."""
    if task.completion != "fenced":
        return solution
    return f"{template.prompts.answer_prefix or '```python' + chr(10)}{solution}\n```\nThat is all.\n"


def passed(scorer: Scorer, task: Task, template: Template, *solutions: str) -> list[bool]:
    asked = posed(task, template.prompts)
    answers = [answer_to(asked, template, solution) for solution in solutions]
    scored = scorer.examine(asked, answers, extract=template.extraction.program)
    assert not any(one.score.excluded for one in scored)
    return [one.score.passed for one in scored]


@pytest.mark.parametrize(("name", "row", "right", "wrong"), ROWS)
def test_a_right_solution_passes_and_a_wrong_one_does_not(
    scorer: Scorer, tmp_path: Path, name: str, row: Fields, right: str | None, wrong: str
) -> None:
    report = load_tasks(write(tmp_path / "tasks.jsonl", row), name)
    assert report.skipped == report.left_out == ()
    (task,) = report.tasks
    right = right or task.reference
    assert right is not None
    for template in TEMPLATES.values():
        assert passed(scorer, task, template, right, wrong) == [True, False], template.name


def test_every_format_of_a_benchmark_is_tried() -> None:
    assert {name for name, *_ in ROWS} == set(FORMATS) - {"couplet", "acecode"}
