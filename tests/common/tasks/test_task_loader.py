import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.records import as_plain
from common.tasks.loader import TaskFileError, load_tasks
from learner.warm_start.synthetic import SyntheticTasks
from tests.common.tasks.task_rows import ACECODE, BIGCODEBENCH, HUMANEVAL, MBPP, OWN, SANITIZED, write
from tests.outside_data import outside_data

CALL = {"call": "f()", "expected": "1"}
SCRIPT = {**OWN, "exports": ["f"], "tests": [{"kind": "script", "script": "assert f() == 1"}]}


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.jsonl.gz"])
def test_rows_of_several_formats(tmp_path: Path, name: str):
    report = load_tasks(write(tmp_path / name, MBPP, "", ACECODE, OWN))
    assert report.skipped == report.left_out == ()
    assert report.formats == {"mbpp": 1, "acecode": 1, "couplet": 1}
    own = report.tasks[2]
    assert (own.id, own.completion, own.tests[0].kind) == ("own_1", "continuation", "stdin")


def test_parquet_gives_the_same_tasks(tmp_path: Path):
    rows = [
        MBPP | {"task_id": "11"},
        SANITIZED | {"task_id": "12"},
        HUMANEVAL,
        BIGCODEBENCH,
        SCRIPT,
        OWN | {"id": "o"},
    ]
    columns = {name: None for row in rows for name in row}
    pq.write_table(pa.Table.from_pylist([{**columns, **row} for row in rows]), tmp_path / "tasks.parquet")
    assert load_tasks(tmp_path / "tasks.parquet") == load_tasks(write(tmp_path / "tasks.jsonl", *rows))


def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([HUMANEVAL, HUMANEVAL]), tmp_path / "tasks.parquet")
    with pytest.raises(TaskFileError, match=r"tasks\.parquet, row 2, field id: .* already used on row 1"):
        load_tasks(tmp_path / "tasks.parquet", "humaneval")
    pq.write_table(pa.Table.from_pylist([HUMANEVAL | {"test": None}]), tmp_path / "tasks.parquet")
    with pytest.raises(TaskFileError, match="row 1, field test: is missing or empty"):
        load_tasks(tmp_path / "tasks.parquet", "humaneval")
    (tmp_path / "tasks.parquet").write_text("{}")
    with pytest.raises(TaskFileError, match="unreadable"):
        load_tasks(tmp_path / "tasks.parquet")


def test_all_that_a_task_of_ours_can_say(tmp_path: Path):
    row = {
        "id": 7,
        "prompt": "p",
        "tests": [{"call": "f(1)"}, {"kind": "stdin", "stdin": "1"}, *SCRIPT["tests"]],
        "test_setup": "import math",
        "exports": ["f"],
        "in_process": True,
        "shown_tests": 1,
        "reference": "def f(): return 1",
    }
    task = load_tasks(write(tmp_path / "tasks.jsonl", row)).tasks[0]
    assert (task.id, task.exports, task.in_process, task.shown_tests) == ("7", ("f",), True, 1)
    assert [(test.kind, test.expected) for test in task.tests] == [
        ("call", None),
        ("stdin", None),
        ("script", None),
    ]


def test_synthetic_tasks_survive_a_file(tmp_path: Path, synthetic_tasks: SyntheticTasks):
    tasks = tuple(t.task for t in synthetic_tasks.held_out)
    assert load_tasks(write(tmp_path / "tasks.jsonl", *map(as_plain, tasks))).tasks == tasks


def test_tests_that_cannot_be_used_are_left_out_by_name(tmp_path: Path):
    row = {**MBPP, "task_id": 12, "test_list": ["assert True", "assert inc(1) == 2", "assert inc("]}
    nothing = {**MBPP, "task_id": 13, "test_list": ["assert True"], "challenge_test_list": []}
    report = load_tasks(write(tmp_path / "tasks.jsonl", MBPP, row, nothing))
    assert [task.id for task in report.tasks] == ["11", "12"]
    assert report.tasks[1].prompt.endswith("Test cases: assert inc(1) == 2")
    reasons = [(line, task_id, reason[:22]) for line, task_id, reason in report.left_out]
    assert reasons == [(2, "12", "test 1: tests nothing:"), (2, "12", "test 3: not Python: '(")]
    assert report.skipped == ((3, "13", "no test can be used; test 1: tests nothing: it has only literals"),)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path):
    path = write(tmp_path / "tasks.jsonl", MBPP)
    with pytest.raises(
        TaskFileError,
        match=r"--format: 'sums' is no task format known here; choose one of couplet, .*bigcodebench-instruct",
    ):
        load_tasks(path, "sums")
    with pytest.raises(TaskFileError, match="field prompt: is missing or empty"):
        load_tasks(path, "humaneval")


def test_a_format_of_the_users_is_named_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "quiz_rows.py").write_text(
        "from common.records import Task, TestCase\n"
        "from common.tasks.rows import ParsedRow\n"
        "tests = (TestCase(call='f()', expected='1'),)\n"
        "def quiz(row):\n"
        "    task = Task(id=row.identifier(), prompt=row.required_text('ask'), tests=tests)\n"
        "    return ParsedRow(task, ('one is too long',))\n"
        "def bare(row): return quiz(row).task\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path / "tasks.jsonl", {"id": 1, "ask": "p"})
    report = load_tasks(path, "quiz_rows:quiz")
    assert [(task.id, task.prompt) for task in report.tasks] == [("1", "p")]
    assert (report.left_out, report.formats) == (((1, "1", "one is too long"),), {"quiz_rows:quiz": 1})
    with pytest.raises(TaskFileError, match="--format: quiz_rows:bare gives Task; return a ParsedRow"):
        load_tasks(path, "quiz_rows:bare")
    with pytest.raises(TaskFileError, match=r"data\.train_format: quiz_rows:tests is tuple; name a function"):
        load_tasks(path, "quiz_rows:tests", "data.train_format")
    with pytest.raises(TaskFileError, match="line 1, field ask: is missing"):
        load_tasks(write(path, {"id": 1}), "quiz_rows:quiz")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: a JSON list"),
        ({**MBPP, "task_id": None}, "line 2, field id: is missing"),
        (
            {"id": "x", "question": "q"},
            "line 2: of no known format, it has id, question; rename .*acecode: test_cases",
        ),
        ({**MBPP, "task_id": "ace_1"}, "line 2, field id: 'ace_1' was already used on line 1"),
        ({**MBPP, "text": ""}, "line 2, field text: is missing or empty"),
        ({**MBPP, "text": 3}, "line 2, field text: is int; make it a string"),
        ({**MBPP, "test_list": []}, "line 2, field test_list: is missing or empty"),
        ({**MBPP, "test_list": "assert f()"}, "line 2, field test_list: is not a list of strings"),
        ({**MBPP, "code": "def"}, "line 2, field code: is not Python"),
        ({**MBPP, "test_setup_code": "def"}, "line 2, field test_setup_code: is not Python"),
        ({**OWN, "prompt": None}, "line 2, field prompt: "),
        ({**OWN, "tests": []}, "line 2, field tests: is empty"),
        ({**OWN, "tests": [{"call": "f()"}]}, "line 2, field tests.0.expected: is missing; .* a reference"),
        ({**OWN, "tests": [{"kind": "stdin"}]}, "line 2, field tests.0.expected: is missing"),
        ({**OWN, "tests": [{"expected": "1"}]}, "line 2, field tests.0.call: is empty"),
        ({**OWN, "tests": [CALL, CALL | {"call": "x = 1"}]}, "line 2, field tests.1.call: is not Python"),
        ({**OWN, "tests": [{"kind": "script"}], "exports": ["f"]}, "field tests.0.script: is empty"),
        ({**SCRIPT, "tests": [{"kind": "script", "script": "assert"}]}, "field tests.0.script: is not Python"),
        ({**SCRIPT, "exports": []}, "line 2, field exports: is empty"),
        ({**SCRIPT, "exports": ["a.b"]}, "line 2, field exports: 'a.b' is no name"),
        ({**SCRIPT, "test_setup": "import"}, "line 2, field test_setup: is not Python"),
        ({**OWN, "shown_tests": 2}, "line 2, field shown_tests: is 2 of 1"),
        (
            {**OWN, "tests": [{"call": "f()", "expected": "g()"}]},
            "field tests.0.expected: is not a Python literal",
        ),
        ({**OWN, "surprise": 1}, "line 2, field surprise: Extra"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, row: object, message: str):
    path = write(tmp_path / "tasks.jsonl", ACECODE, row)
    with pytest.raises(TaskFileError, match=message) as error:
        load_tasks(path)
    assert str(path) in str(error.value)


def test_a_list_in_a_json_file_is_read_too(tmp_path: Path):
    rows = [{**MBPP, "task_id": number} for number in range(3)]
    lines = load_tasks(write(tmp_path / "tasks.jsonl", *rows))
    for name, text in (
        ("list.json", json.dumps(rows, indent=1)),
        ("lines.json", "\n".join(map(json.dumps, rows))),
    ):
        (tmp_path / name).write_text(text)
        assert load_tasks(tmp_path / name).tasks == lines.tasks
    (tmp_path / "list.json").write_text(json.dumps([MBPP, {**MBPP, "text": ""}]))
    with pytest.raises(TaskFileError, match=r"list\.json, row 2, field text: is missing or empty"):
        load_tasks(tmp_path / "list.json")
    for text, message in (("[3]", r"list\.json, row 1: a JSON int"), ("[{", r"list\.json: unreadable")):
        (tmp_path / "list.json").write_text(text)
        with pytest.raises(TaskFileError, match=message):
            load_tasks(tmp_path / "list.json")


def test_unusable_files_are_named(tmp_path: Path):
    with pytest.raises(TaskFileError, match=r"nowhere\.jsonl: there is no such file"):
        load_tasks(tmp_path / "nowhere.jsonl")
    with pytest.raises(TaskFileError, match="has no rows"):
        load_tasks(write(tmp_path / "empty.jsonl", ""))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"{}\n")
    with pytest.raises(TaskFileError, match="unreadable"):
        load_tasks(broken)
    broken.write_bytes(
        write(tmp_path / "good.jsonl.gz", *[{**MBPP, "task_id": i} for i in range(99)]).read_bytes()[:-20]
    )
    with pytest.raises(TaskFileError, match="unreadable"):
        load_tasks(broken)


@pytest.mark.parametrize(
    ("name", "format_name", "tasks", "tests"),
    [
        ("humaneval/HumanEval", "humaneval", 164, {"script": 1133}),
        ("humaneval_plus/HumanEvalPlus-Mini", "humaneval+", 164, {"call": 2576, "script": 101}),
        ("mbpp/mbpp", "mbpp", 974, {"call": 2917, "script": 21}),
        ("mbpp/mbpp_sanitized", "mbpp", 427, {"call": 1245, "script": 79}),
        ("mbpp_plus/MbppPlus", "mbpp+", 378, {"call": 40_763, "script": 252}),
        ("mbpp_rl/train", "acecode", 256, {"call": 762, "script": 6}),
        ("mbpp_rl/valid", "acecode", 47, {"call": 138, "script": 3}),
        ("bigcodebench/BigCodeBench-Hard", "bigcodebench", 148, {"script": 853}),
    ],
)
def test_published_files(name: str, format_name: str, tasks: int, tests: dict[str, int]):
    report = load_tasks(outside_data(f"data/{name}.jsonl.gz"))
    assert report.skipped == report.left_out == ()
    assert report.formats == {format_name: tasks}
    kinds = [test.kind for task in report.tasks for test in task.tests]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == tests
    assert len(report.tasks) == tasks
    assert all(task.reference and task.exports for task in report.tasks)
