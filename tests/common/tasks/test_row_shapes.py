"""Files and rows as other tools write them: lists, indices, conversations, the shapes of verl and Open-R1."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.records import Task
from common.tasks.contest import PRELUDE
from common.tasks.loader import TaskFileError, load_tasks
from tests.common.tasks.task_rows import ACECODE, APPS, APPS_CALL, MBPP, OWN, Fields, write

ROWS = [{**OWN, "id": f"t{number}"} for number in range(3)]
USER = {"role": "user", "content": "Write f."}
SYSTEM = {"role": "system", "content": "You write Python."}
PAIRS = {row["id"]: json.loads(row["input_output"]) for row in (APPS, APPS_CALL)}


def tasks_of(path: Path, *rows: Fields) -> tuple[Task, ...]:
    return load_tasks(write(path, *rows)).tasks


def verl(truth: Any, **fields: Any) -> Fields:
    return {
        "data_source": "taco",
        "prompt": [SYSTEM, USER],
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"split": "train", "index": 0},
        **fields,
    }


def open_r1(cases: Any, **fields: Any) -> Fields:
    return {
        "source": "codeforces",
        "problem_id": "vcp_1",
        "prompt": "Print half of a number.",
        "gold_standard_solution": "```python\nprint(int(input()) / 2)\n```",
        "verification_info": {"language": "python", "test_cases": cases},
        "metadata": {"difficulty": "EASY"},
        **fields,
    }


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.json", "tasks.jsonl.gz", "tasks.json.gz", "tasks.txt"])
def test_lines_and_lists_are_told_apart_by_what_is_in_the_file(tmp_path: Path, name: str) -> None:
    expected = tasks_of(tmp_path / "expected.jsonl", *ROWS)
    lines = "\n".join(map(json.dumps, ROWS))
    for text in (
        lines,
        f"\n \n{lines}\n\n",
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        f"\n{json.dumps(ROWS)}",
    ):
        for mark in ("", "\ufeff"):
            data = (mark + text).encode("utf-8")
            (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
            assert load_tasks(tmp_path / name).tasks == expected


def test_the_place_of_a_row_is_said_as_the_file_has_it(tmp_path: Path) -> None:
    bad = {**MBPP, "text": ""}
    for text, place in (
        ("\ufeff\n" + json.dumps(ACECODE) + "\n" + json.dumps(bad), r"line 3, field text"),
        (json.dumps([ACECODE, bad], indent=1), r"row 2, field text"),
        ("[1]\n[2]\n", "line 1: a JSON list; write one JSON object a line"),
        ("3\n", "line 1: a JSON int"),
        (json.dumps({"a": {"0": 1}}, indent=1), r"one JSON object over several lines; .*orient='records'"),
        ('{"id": \n', "line 1: not JSON"),
    ):
        (tmp_path / "tasks.jsonl").write_text(text, encoding="utf-8")
        with pytest.raises(TaskFileError, match=place):
            load_tasks(tmp_path / "tasks.jsonl")


def test_columns_of_an_index_are_passed_over_and_other_unknown_ones_are_not(tmp_path: Path) -> None:
    expected = tasks_of(tmp_path / "expected.jsonl", *ROWS)
    for column in ("__index_level_0__", "index", "level_0", "Unnamed: 0"):
        rows = [{**row, column: number} for number, row in enumerate(ROWS)]
        assert tasks_of(tmp_path / "tasks.jsonl", *rows) == expected
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "tasks.parquet")
        assert load_tasks(tmp_path / "tasks.parquet").tasks == expected
    with pytest.raises(TaskFileError, match="field indexed: Extra"):
        load_tasks(write(tmp_path / "tasks.jsonl", ROWS[0] | {"indexed": 1}))


def test_lists_may_be_json_in_a_string(tmp_path: Path) -> None:
    row = {**OWN, "metadata": {"level": 3}, "exports": ["f"]}
    packed = {
        name: json.dumps(value) if name in ("tests", "metadata", "exports") else value
        for name, value in row.items()
    }
    assert tasks_of(tmp_path / "tasks.jsonl", packed) == tasks_of(tmp_path / "tasks.jsonl", row)
    with pytest.raises(TaskFileError, match="field tests: is not JSON"):
        load_tasks(write(tmp_path / "tasks.jsonl", row | {"tests": "assert f()"}))


def test_a_conversation_is_a_question(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "def f(): ..."}
    plain = {name: value for name, value in OWN.items() if name not in ("prompt", "completion")}
    for turns, prompt in (
        ([USER], "Write f."),
        ([SYSTEM, USER], "You write Python.\n\nWrite f."),
        ([SYSTEM, USER, answer], "You write Python.\n\nWrite f."),
        ([{"role": "user", "content": [{"type": "text", "text": "Write f."}]}], "Write f."),
    ):
        for row in (
            plain | {"prompt": turns},
            plain | {"messages": turns},
            plain | {"messages": json.dumps(turns)},
        ):
            (task,) = tasks_of(tmp_path / "tasks.jsonl", row)
            assert (task.prompt, task.completion) == (prompt, "fenced")
    (task,) = tasks_of(tmp_path / "tasks.jsonl", plain | {"messages": [USER], "completion": "continuation"})
    assert task.completion == "continuation"
    question = {name: value for name, value in MBPP.items() if name != "text"} | {"messages": [USER]}
    assert tasks_of(tmp_path / "tasks.jsonl", question)[0].prompt.startswith("Write f.\nTest cases:")
    for turns, message in (
        ([USER, answer, USER], "field messages: has turns of user, assistant, user; give one of the user"),
        ([], "field messages: has turns of nobody"),
        ([{"from": "human", "value": "x"}], r"field messages\.0: has no role of system, user"),
        ([{"role": "user", "content": 3}], r"field messages\.0\.content: is no text"),
    ):
        with pytest.raises(TaskFileError, match=message):
            load_tasks(write(tmp_path / "tasks.jsonl", plain | {"messages": turns}))


@pytest.mark.parametrize("row", [APPS, APPS_CALL], ids=["program", "function"])
def test_verl_and_apps_have_the_same_tests_for_the_same_pairs(tmp_path: Path, row: Fields) -> None:
    (expected,) = tasks_of(tmp_path / "apps.jsonl", row)
    pairs = PAIRS[row["id"]]
    for truth in (pairs, json.dumps(pairs)):
        for shape in (verl(truth), verl(truth) | {"reward_model": json.dumps(verl(truth)["reward_model"])}):
            (task,) = tasks_of(tmp_path / "verl.jsonl", shape)
            assert (task.tests, task.exports, task.entry_point) == (
                expected.tests,
                expected.exports,
                expected.entry_point,
            )
            assert (task.id, task.family, task.prefix) == ("1", "taco", PRELUDE)
            assert (task.prompt, task.completion) == ("You write Python.\n\nWrite f.", "fenced")


def test_verls_calls_may_be_lines_of_json_as_livecodebench_has_them(tmp_path: Path) -> None:
    listed = {"fn_name": "f", "inputs": [[[1, 2], 4]], "outputs": [[4, 8]]}
    lines = {"fn_name": "f", "inputs": ["[1, 2]\n4"], "outputs": ["[4, 8]"]}
    assert tasks_of(tmp_path / "a.jsonl", verl(lines)) == tasks_of(tmp_path / "b.jsonl", verl(listed))


def test_verls_asserts_are_those_of_an_mbpp_row_under_a_prompt_that_stays_as_it_is(tmp_path: Path) -> None:
    lines = ["assert f(1) == 2", "assert f(3) == 4"]
    (expected,) = tasks_of(tmp_path / "mbpp.jsonl", {"task_id": 1, "text": "Write f.", "test_list": lines})
    for truth in (lines, {"assert_case": lines}, json.dumps({"assert_case": lines, "inputs": ["", ""]})):
        (task,) = tasks_of(tmp_path / "verl.jsonl", verl(truth))
        assert (task.tests, task.exports, task.shown_tests) == (expected.tests, expected.exports, 0)
        assert task.prompt == "You write Python.\n\nWrite f."


def test_rows_without_tests_of_programs_are_skipped_with_the_reason(tmp_path: Path) -> None:
    rows = [verl("\\frac{1}{2}"), verl("72"), verl(PAIRS[APPS["id"]]), verl({"inputs": [], "outputs": []})]
    report = load_tasks(write(tmp_path / "verl.jsonl", *rows))
    assert [task.id for task in report.tasks] == ["3"]
    assert [number for number, _, _ in report.skipped] == [1, 2, 4]
    assert "holds no tests: neither inputs and outputs nor asserts" in report.skipped[0][2]
    other = load_tasks(
        write(
            tmp_path / "r1.jsonl",
            open_r1([]),
            open_r1([], problem_id="2") | {"verification_info": {"language": "rust", "test_cases": []}},
        )
    )
    assert [reason for _, _, reason in other.skipped] == [
        "no test can be used; it has none",
        "its tests are for programs in rust",
    ]


def test_open_r1_lists_its_tests_one_by_one(tmp_path: Path) -> None:
    cases = [
        {"fn_name": None, "input": "3\n", "output": "1.5\n", "type": "stdin_stdout"},
        {"fn_name": "", "input": "4\n", "output": "2\n", "type": "stdin_stdout"},
    ]
    pairs = {"inputs": ["3\n", "4\n"], "outputs": ["1.5\n", "2\n"]}
    (expected,) = tasks_of(tmp_path / "apps.jsonl", APPS | {"input_output": json.dumps(pairs)})
    for given in (cases, json.dumps(cases), pairs, json.dumps(pairs)):
        (task,) = tasks_of(tmp_path / "r1.jsonl", open_r1(given))
        assert (task.tests, task.exports) == (expected.tests, ())
        assert (task.id, task.family, task.prompt) == ("vcp_1", "codeforces", "Print half of a number.")
        assert (task.reference, task.completion) == ("print(int(input()) / 2)\n", "fenced")
    calls = [{"fn_name": "f", "input": "[1, 2]\n4", "output": "[4, 8]", "type": "function_call"}]
    (task,) = tasks_of(tmp_path / "r1.jsonl", open_r1(calls, gold_standard_solution="no program"))
    assert (task.entry_point, task.reference) == ("f", None)


def test_apps_rows_of_data_sets_without_ids_are_numbered(tmp_path: Path) -> None:
    row = {name: value for name, value in APPS.items() if name != "id"}
    assert [task.id for task in tasks_of(tmp_path / "taco.jsonl", row, row)] == ["1", "2"]
    with pytest.raises(TaskFileError, match="field id: is missing"):
        load_tasks(write(tmp_path / "tasks.jsonl", {name: value for name, value in OWN.items() if name != "id"}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (OWN | {"tests": None}, "field tests: is null, and a row of the format couplet needs it; give"),
        ({"id": 1, "question": "q", "input_output": None}, "field input_output: is null, and a row of the form"),
        (OWN | {"id": "a\ud83d"}, r"field id: holds \\ud83d, half of a surrogate pair"),
        (OWN | {"tests": [{"call": "f('\udc00')", "expected": "1"}]}, r"field tests\.0\.call: "),
        (OWN | {"tests": [{"kind": "stdin", "stdin": "\ud800", "expected": ""}]}, r"0\.stdin: holds \\ud800"),
        (OWN | {"metadata": {"a\ud800": 1}}, r"field metadata: holds|field metadata.*cannot be sent"),
        *(
            (OWN | {"tests": [{"call": "f()", "expected": "1", "tolerance": value}]}, r"tests\.0\.tolerance: ")
            for value in (math.nan, math.inf, -math.inf, -1e-9, True, "few", 10**400)
        ),
        *((OWN | {"shown_tests": value}, "field shown_tests: ") for value in (True, -1, 10**30, 0.5, math.nan)),
        (verl({"inputs": ["1"], "outputs": []}), r"field reward_model\.ground_truth: has 1 inputs and 0 outputs"),
        (verl("1") | {"reward_model": {"style": "rule"}}, r"field reward_model\.ground_truth: is missing"),
        (open_r1([{"input": "1"}]), r"verification_info\.test_cases\.0\.output: is NoneType; make"),
        (open_r1("{"), r"field verification_info\.test_cases: is not JSON"),
        (open_r1([{"input": "1", "output": "1"}, {"fn_name": "f"}]), "test one function"),
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_mislead_are_refused_by_their_field(tmp_path: Path, row: Fields, message: str) -> None:
    with pytest.raises(TaskFileError, match=message) as caught:
        load_tasks(write(tmp_path / "tasks.jsonl", row))
    str(caught.value).encode("utf-8")


def test_a_null_column_of_parquet_is_told_as_such(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"id": "1", "prompt": "p", "tests": None}]), tmp_path / "tasks.parquet")
    with pytest.raises(TaskFileError, match="row 1, field tests: is null"):
        load_tasks(tmp_path / "tasks.parquet")
