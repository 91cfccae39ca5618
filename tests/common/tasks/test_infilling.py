"""HumanEval-Infilling: a program with a gap, for models that continue, for chats, and for files of samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import DataConfig
from common.records import Task
from common.tasks.loader import TaskFileError, load_tasks
from common.tasks.questions import posed
from common.tasks.source import parse
from evaluation.extraction import Extraction
from reward_service.extraction import format_score, program_of, reference_program
from tests.common.tasks.task_rows import HUMANEVAL, Fields, write

PROGRAM = (
    "from typing import List\n\n\ndef twice(x):\n    return 2 * x\n\n\ndef total(xs: List[int]) -> int:\n"
    '    """Twice the sum."""\n    found = 0\n    for x in xs:\n        found += twice(x)\n    return found\n'
)
CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 6\n    assert candidate([]) == 0\n"


def around(gap: str) -> tuple[str, str]:
    begin = PROGRAM.index(gap or "found += ")
    return PROGRAM[:begin], PROGRAM[begin + len(gap) :]


def row(gap: str) -> Fields:
    before, after = around(gap)
    return {
        "task_id": "SingleLineInfilling/HumanEval/900/L1",
        "prompt": before,
        "suffix": after,
        "canonical_solution": gap,
        "entry_point": "total",
        "test": CHECK,
    }


def load(tmp_path: Path, fields: Fields) -> Task:
    report = load_tasks(write(tmp_path / "tasks.jsonl", fields))
    assert report.formats == {"humaneval-infilling": 1}
    return report.tasks[0]


GAPS = [
    "    for x in xs:\n",
    "    return found\n",
    "found = 0\n    for x in",
    "+= twice(x)\n    return",
    "    found = 0\n",
    "",
]


@pytest.mark.parametrize("gap", GAPS)
def test_the_completion_stands_between_prefix_and_suffix(tmp_path: Path, gap: str) -> None:
    task = load(tmp_path, row(gap))
    assert reference_program(task) == program_of(task, gap) == PROGRAM
    assert format_score(task, gap, PROGRAM) == 1.0
    assert format_score(task, "(", program_of(task, "(")) == 0.0
    assert task.prompt.endswith(task.prefix)
    assert all(line in task.prompt for line in task.suffix.split("\n") if line.strip())
    assert [test.script for test in task.tests] == [
        "candidate = total\nassert candidate([1, 2]) == 6",
        "candidate = total\nassert candidate([]) == 0",
    ]
    names: dict[str, object] = {}
    exec(task.test_setup, names)
    assert "twice" in names
    assert "total" not in names, "the tests get it from the solution alone"


@pytest.mark.parametrize("gap", GAPS)
def test_a_chat_is_asked_for_the_whole_program(tmp_path: Path, gap: str) -> None:
    task = posed(
        load(tmp_path, row(gap)), DataConfig.model_validate({"source": "synthetic", "chat_template": True})
    )
    before, after = around(gap)
    assert (f"{before}<FILL_ME>{after}" if after else before).strip() in task.prompt
    parse(task.prefix)
    assert "from typing import List" in task.prefix
    assert task.suffix == ""
    answer = "```python\ndef total(xs: List[int]) -> int:\n    return sum(map(twice, xs))\n```"
    names: dict[str, object] = {}
    exec(program_of(task, answer) or "", names)
    assert eval("total([1, 2])", names) == 6


def test_what_a_model_goes_on_with_is_cut_where_the_program_fits(tmp_path: Path) -> None:
    task = load(tmp_path, row("    for x in xs:\n"))
    trimmed = Extraction(trimmed=True)
    assert trimmed.program(task, "    for x in xs:\n") == PROGRAM
    assert trimmed.program(task, "    for x in xs:\n    found += 1\n  return found\n") == PROGRAM
    assert Extraction().program(task, "    for x in xs:\n    found += 1\n") != PROGRAM


def test_rows_that_are_no_gaps(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"field canonical_solution: is not Python.*between prompt and suffix"):
        load(tmp_path, row("    for x in xs:\n") | {"canonical_solution": "    for x in\n"})
    plain = load_tasks(write(tmp_path / "plain.jsonl", HUMANEVAL))
    assert plain.formats == {"humaneval": 1}
