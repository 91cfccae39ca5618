"""Rows of our own: what a test would not look at, or cannot be run as it stands, is refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.records import Task, TestCase
from common.tasks.libraries import third_party
from common.tasks.loader import TaskFileError, load_tasks
from tests.common.tasks.task_rows import Fields, write

CALL = {"call": "f(1)", "expected": "1"}
STDIN = {"kind": "stdin", "stdin": "1", "expected": "1"}
SCRIPT = {"kind": "script", "script": "assert f(1) == 1"}


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({**CALL, "script": "assert f(1)"}, "tests.0.script: is of script tests, and kind is call; leave it out"),
        ({**CALL, "stdin": "1"}, "tests.0.stdin: is of stdin tests, and kind is call"),
        ({**STDIN, "call": "f(1)"}, "tests.0.call: is of call tests, and kind is stdin"),
        ({**SCRIPT, "expected": "1"}, "tests.0.expected: is of call and stdin tests, and kind is script"),
        ({**SCRIPT, "comparison": "close"}, "tests.0.comparison: is of call and stdin tests"),
        ({**CALL, "tolerance": 0.1}, "tests.0.tolerance: is for comparison close; write that too"),
        ({**STDIN, "comparison": "as_set"}, "tests.0.comparison: as_set is for call; stdin has equal, close"),
        ({**SCRIPT, "script": "import unittest\nunittest.main()"}, "write unittest.TestSuite"),
        ({**CALL, "expected": 1}, "tests.0.expected: .* in quotes even where it is a number"),
        ({**STDIN, "files": {"../x": ""}}, "tests.0.files: '../x' is no name of a file"),
    ],
)
def test_what_a_test_would_not_look_at_is_refused(tmp_path: Path, test: Fields, message: str) -> None:
    row = {"id": "a", "prompt": "p", "exports": ["f"], "tests": [test]}
    with pytest.raises(TaskFileError, match=message):
        load_tasks(write(tmp_path / "tasks.jsonl", row))


def test_a_gap_within_an_import_needs_no_library() -> None:
    gap = Task(id="x", prompt="p", prefix="import ma", reference="th", suffix="\n", tests=(TestCase(),))
    assert third_party(gap) == ()
    assert third_party(gap.model_copy(update={"reference": None, "suffix": ""})) == ("ma",)
