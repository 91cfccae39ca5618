import gzip
import json
import os
from pathlib import Path

import pytest

from common.records import as_plain
from common.tasks.loader import TaskFileError, load_tasks
from common.tasks.synthetic import SyntheticTasks

MBPP = {
    "task_id": 11,
    "text": "Add one.",
    "code": "def inc(x):\n    return x + 1",
    "test_setup_code": "import math",
    "test_list": ["assert inc(1) == 2", "assert inc(-1) == 0"],
    "challenge_test_list": [],
}
ACECODE = {
    "id": "ace_1",
    "source": "oss",
    "question": "Negate.",
    "test_cases": ["assert neg(1) == -1"],
    "inferences": [],
}
OWN = {"id": "own_1", "prompt": "p", "tests": [{"kind": "stdin", "stdin": "1\n", "expected": "2\n"}]}
REAL = Path(__file__).parents[4] / "shared/data/mbpp_rl/train.jsonl.gz"


def _write(path: Path, *rows: object) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.jsonl.gz"])
def test_three_kinds_of_rows(tmp_path: Path, name: str):
    report = load_tasks(_write(tmp_path / name, MBPP, "", ACECODE, OWN))
    assert report.skipped == ()
    mbpp, acecode, own = report.tasks
    assert (mbpp.id, mbpp.completion, mbpp.reference) == ("11", "fenced", MBPP["code"])
    assert mbpp.prompt == "Add one.\nTest cases: assert inc(1) == 2"
    assert mbpp.prefix == "import math\n"
    assert [(test.call, test.expected) for test in mbpp.tests] == [("inc(1)", "2"), ("inc(-1)", "0")]
    assert (acecode.id, acecode.family, acecode.prefix, acecode.reference) == ("ace_1", "oss", "", None)
    assert (own.id, own.completion, own.tests[0].kind) == ("own_1", "continuation", "stdin")


def test_synthetic_tasks_survive_a_file(tmp_path: Path, synthetic_tasks: SyntheticTasks):
    tasks = tuple(t.task for t in synthetic_tasks.held_out)
    assert load_tasks(_write(tmp_path / "tasks.jsonl", *map(as_plain, tasks))).tasks == tasks


def test_a_row_with_an_unsplittable_test_is_skipped_by_name(tmp_path: Path):
    row = {**MBPP, "task_id": 12, "test_list": ["assert inc(1) == 2", "assert inc(1) == inc(0) + 1"]}
    report = load_tasks(_write(tmp_path / "tasks.jsonl", MBPP, row))
    assert [task.id for task in report.tasks] == ["11"]
    assert report.skipped == ((2, "12", "test 2: neither side of == is a literal"),)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: a JSON list"),
        ({**MBPP, "task_id": None}, "line 2, field id: is missing"),
        ({**MBPP, "task_id": "ace_1"}, "line 2, field id: 'ace_1' was already used on line 1"),
        ({**MBPP, "text": ""}, "line 2, field question: is missing or empty"),
        ({**MBPP, "text": 3}, "line 2, field text: is int; make it a string"),
        ({**MBPP, "test_list": []}, "line 2, field test_list: is missing or empty"),
        ({**MBPP, "test_list": "assert f()"}, "line 2, field test_list: is not a list of strings"),
        ({**OWN, "prompt": None}, "line 2, field prompt: "),
        ({**OWN, "tests": []}, "line 2, field tests: is empty"),
        ({**OWN, "tests": [{"call": "f()"}]}, "line 2, field tests.0.expected: Field required"),
        (
            {**OWN, "tests": [{"call": "f()", "expected": "g()"}]},
            "field tests.0.expected: is not a Python literal",
        ),
        ({**OWN, "surprise": 1}, "line 2, field surprise: Extra"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, row: object, message: str):
    path = _write(tmp_path / "tasks.jsonl", ACECODE, row)
    with pytest.raises(TaskFileError, match=message) as error:
        load_tasks(path)
    assert str(path) in str(error.value)


def test_unusable_files_are_named(tmp_path: Path):
    with pytest.raises(TaskFileError, match=r"nowhere\.jsonl: there is no such file"):
        load_tasks(tmp_path / "nowhere.jsonl")
    with pytest.raises(TaskFileError, match="has no rows"):
        load_tasks(_write(tmp_path / "empty.jsonl", ""))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"{}\n")
    with pytest.raises(TaskFileError, match="unreadable"):
        load_tasks(broken)
    broken.write_bytes(
        _write(tmp_path / "good.jsonl.gz", *[{**MBPP, "task_id": i} for i in range(99)]).read_bytes()[:-20]
    )
    with pytest.raises(TaskFileError, match="unreadable"):
        load_tasks(broken)


def test_the_real_mbpp_subset():
    if not REAL.is_file():
        reason = f"needs the MBPP subset, which is not part of the repository, at {REAL}"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    report = load_tasks(REAL)
    assert len(report.tasks) == 256
    assert report.skipped == ()
    assert all(len(task.tests) == 3 and task.reference and task.entry_point for task in report.tasks)
