"""Right solutions of every benchmark pass and wrong ones do not, in a real sandbox, however tasks are put."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.records import Task
from common.tasks.formats import FORMATS
from common.tasks.libraries import third_party
from common.tasks.loader import load_tasks
from common.tasks.questions import posed
from evaluation.templates import TEMPLATES, Template
from reward_service.completions import Completions
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
from tests.outside_data import outside_data

_SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
_TIMES = (
    "class Solution:\n    def times(self, numbers: List[int], k: int):\n"
    "        return tuple(k * number for number in numbers)\n"
)
_BIGCODEBENCH = BIGCODEBENCH | {
    "test": BIGCODEBENCH["test"].replace("import numpy as np\n", "").replace("def test_three", "def no_test")
}
_INFILLING: Fields = {
    "task_id": "SingleLineInfilling/HumanEval/900/L1",
    "prompt": "def total(numbers):\n    found = 0\n    for number in numbers:\n",
    "suffix": "    return found\n",
    "canonical_solution": "        found += number\n",
    "entry_point": "total",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
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
    ("humaneval-infilling", _INFILLING, None, "        found -= number\n"),
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
        limits = Limits(cpu_s=10, wall_s=40, memory_mb=1024, out_bytes=32 << 20)  # of couplet evaluate
        made = Scorer(sandbox, limits=limits, allow_forgeable=True)
        yield made
        made.close()


def answer_to(task: Task, template: Template, solution: str) -> str:
    """What a model would write that gives this solution: with what the template begins of it."""
    if task.completion != "fenced" or template.name == "base":
        return solution
    return f"{template.prompts.answer_prefix or '```python' + chr(10)}{solution}\n```\nThat is all.\n"


def passed(scorer: Scorer, task: Task, template: Template, *solutions: str) -> list[bool]:
    asked = posed(task, template.prompts)
    if task.suffix and not asked.suffix:  # a chat is asked for the whole program
        solutions = tuple(f"{task.prefix}{solution}{task.suffix}" for solution in solutions)
    answers = [answer_to(asked, template, solution) for solution in solutions]
    scored = scorer.examine(Completions(asked, answers, extract=template.extraction.program))
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
    assert {name for name, *_ in ROWS} == set(FORMATS) - {"couplet", "acecode", "verl", "open-r1"}


#: Tasks of BigCodeBench-Hard whose own solutions need what the sandbox does not give: other programs, a network.
_NEED_MORE = {f"BigCodeBench/{number}" for number in (15, 147, 346, 785, 1040)}


@pytest.mark.parametrize(
    ("file", "format_name", "every"),
    [
        ("humaneval/HumanEval", None, 20),
        ("humaneval_plus/HumanEvalPlus-Mini", None, 50),
        ("mbpp/mbpp", None, 100),
        ("mbpp/mbpp_sanitized", None, 60),
        ("mbpp_plus/MbppPlus", "mbpp+base", 60),
        ("bigcodebench/BigCodeBench-Hard", None, 10),
        ("bigcodebench/BigCodeBench-Hard", "bigcodebench-instruct", 14),
    ],
)
def test_public_benchmarks_pass_with_their_own_solutions_only(
    scorer: Scorer, file: str, format_name: str | None, every: int
) -> None:
    """A part of each, of the tasks that need no libraries; `couplet data check` tries all of them."""
    tasks = load_tasks(outside_data(f"data/{file}.jsonl.gz"), format_name).tasks
    tasks = tuple(task for task in tasks if not third_party(task) and task.id not in _NEED_MORE)[::every]
    assert len(tasks) > 1
    for task in tasks:
        wrong = f"def {task.entry_point or task.exports[0]}(*given, **named):\n    return '?'\n"
        assert task.reference is not None
        assert passed(scorer, task, TEMPLATES["diffucoder"], task.reference, wrong) == [True, False], task.id
