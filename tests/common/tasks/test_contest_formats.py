"""LiveCodeBench's, APPS' and CRUXEval's rows; whether solutions pass is tried in tests/evaluation."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path

import pytest

from common.records import Task
from common.tasks.loader import TaskFileError, load_tasks
from tests.common.tasks.task_rows import (
    APPS,
    APPS_CALL,
    CRUXEVAL,
    LIVECODEBENCH,
    LIVECODEBENCH_CALL,
    MBPP_SCRIPT,
    Fields,
    packed,
    write,
)


def load(tmp_path: Path, row: Fields, format_name: str | None = None) -> Task:
    report = load_tasks(write(tmp_path / "tasks.jsonl", row), format_name)
    assert report.skipped == report.left_out == ()
    return report.tasks[0]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (LIVECODEBENCH, "livecodebench"),
        (LIVECODEBENCH_CALL, "livecodebench"),
        (APPS, "apps"),
        (APPS_CALL, "apps"),
        (CRUXEVAL, "cruxeval-o"),
        (MBPP_SCRIPT, "mbpp+hub"),
    ],
)
def test_a_row_is_known_by_its_fields(tmp_path: Path, row: Fields, name: str) -> None:
    assert load_tasks(write(tmp_path / "tasks.jsonl", row)).formats == {name: 1}


def test_livecodebench_shows_its_public_tests_and_unpacks_the_private_ones(tmp_path: Path) -> None:
    task = load(tmp_path, LIVECODEBENCH)
    assert (task.id, task.completion, task.shown_tests) == ("abc900_a", "fenced", 1)
    assert [(test.stdin, test.expected) for test in task.tests] == [
        ("1 2\n", "3\n"), ("3 4\n", "7"), ("0 0", "0\n"),
    ]  # fmt: skip
    assert "standard input" in task.prompt
    private = json.loads(pickle.loads(zlib.decompress(base64.b64decode(LIVECODEBENCH["private_test_cases"]))))
    for same in (json.dumps(private), private):
        assert load(tmp_path, LIVECODEBENCH | {"private_test_cases": same}) == task
    protocols = [pickle.dumps(json.dumps(private), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for data in protocols:
        again = base64.b64encode(zlib.compress(data)).decode()
        assert load(tmp_path, LIVECODEBENCH | {"private_test_cases": again}) == task
    assert len(load(tmp_path, LIVECODEBENCH | {"private_test_cases": ""}).tests) == 1
    assert load(tmp_path, LIVECODEBENCH | {"public_test_cases": "[]"}, "livecodebench").shown_tests == 0


def test_livecodebench_calls_the_function_with_an_argument_a_line(tmp_path: Path) -> None:
    task = load(tmp_path, LIVECODEBENCH_CALL)
    calls = [test.call for test in task.tests]
    assert [call[call.index(")(") + 1 :] for call in calls] == ["([1, 2], 4)", "([], 0)"]
    assert [test.expected for test in task.tests] == ["[4, 8]", "[]"]
    assert "class Solution:\n    def times" in task.prompt
    for metadata in ({"func_name": "times"}, '{"func_name": "times", "other": 1}'):
        assert load(tmp_path, LIVECODEBENCH_CALL | {"metadata": metadata}) == task


class Thief:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("stolen",)


@pytest.mark.parametrize("hidden", [Thief(), [Thief(), "[]"], ["[]"], b"[]", 7, "[]x"])
def test_packed_tests_that_are_more_than_a_text_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: object
) -> None:
    monkeypatch.chdir(tmp_path)
    row = LIVECODEBENCH | {"private_test_cases": packed(hidden)}
    with pytest.raises(
        TaskFileError, match="line 1, field private_test_cases: is neither JSON nor JSON in a pickled"
    ):
        load_tasks(write(tmp_path / "tasks.jsonl", row))
    assert not (tmp_path / "stolen").exists()


def test_apps_takes_the_first_solution_that_is_python(tmp_path: Path) -> None:
    task = load(tmp_path, APPS)
    assert (task.id, task.reference, task.entry_point) == ("900", "print(int(input()) / 2)\n", None)
    assert [(test.stdin, test.expected) for test in task.tests] == [("3\n", "1.5000001\n"), ("4\n", "2\n")]
    for none in ("", None, "[]"):
        assert load(tmp_path, APPS | {"solutions": none}).reference is None
    unpacked = {field: json.loads(APPS[field]) for field in ("solutions", "input_output")}
    assert load(tmp_path, APPS | unpacked) == task


def test_apps_calls_have_whole_numbers_as_keys_and_of_any_length(tmp_path: Path) -> None:
    task = load(tmp_path, APPS_CALL)
    assert task.entry_point == "count"
    assert task.tests[0].call.endswith("(['a', 'b', 'a'], {'a': 1, 'b': 2})")
    digits = "7" * 6000
    text = f'{{"fn_name": "f", "inputs": [[{{"3": {digits}}}]], "outputs": [-{digits}]}}'
    test = load(tmp_path, APPS | {"input_output": text}).tests[0]
    assert test.call.endswith(f"({{3: {hex(7 * (10**6000 - 1) // 9)}}})")
    assert test.expected == hex(-7 * (10**6000 - 1) // 9)


@pytest.mark.parametrize("nothing", ["", '{"inputs": [], "outputs": []}'])
def test_an_apps_row_without_inputs_is_skipped(tmp_path: Path, nothing: str) -> None:
    report = load_tasks(
        write(tmp_path / "tasks.jsonl", APPS | {"input_output": nothing}, APPS | {"id": 1}), "apps"
    )
    assert [task.id for task in report.tasks] == ["1"]
    assert report.skipped == ((1, "900", "no test can be used; it has no inputs and outputs"),)


def test_cruxeval_asks_for_the_output_or_for_an_input(tmp_path: Path) -> None:
    output, given = load(tmp_path, CRUXEVAL, "cruxeval-o"), load(tmp_path, CRUXEVAL, "cruxeval-i")
    assert (output.completion, output.reference) == ("asserted_value", CRUXEVAL["output"])
    assert (given.completion, given.reference) == ("asserted_call", "f('abca', 3)")
    assert "assert f('abca', 3) == ??" in output.prompt
    assert CRUXEVAL["output"] not in output.prompt
    assert f"assert f(??) == {CRUXEVAL['output']}" in given.prompt
    assert CRUXEVAL["input"] not in given.prompt
    assert "def f(text" not in output.prefix, "a value cannot ask the function"
    assert load(tmp_path, CRUXEVAL | {"output": "float('inf')"}).tests[0].expected is None
    assert "f() == ??" in load(tmp_path, CRUXEVAL | {"input": "", "code": "def f():\n    return {}"}).prompt


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (LIVECODEBENCH | {"question_content": ""}, "field question_content: is missing or empty"),
        (LIVECODEBENCH | {"public_test_cases": "[{"}, "field public_test_cases: is not JSON"),
        (LIVECODEBENCH | {"public_test_cases": "{}"}, "field public_test_cases: is dict; make it a list"),
        (LIVECODEBENCH | {"public_test_cases": "[3]"}, r"field public_test_cases\.0: is int; make it an object"),
        (
            LIVECODEBENCH | {"public_test_cases": '[{"input": "1"}]'},
            r"field public_test_cases\.0\.output: is missing",
        ),
        (
            LIVECODEBENCH | {"public_test_cases": '[{"input": "1", "output": 1, "testtype": "stdin"}]'},
            r"field public_test_cases\.0\.output: is int; make it a string",
        ),
        (
            LIVECODEBENCH | {"public_test_cases": '[{"input": "1", "output": "1", "testtype": "file"}]'},
            r"field public_test_cases\.0\.testtype: is 'file'; give stdin or functional",
        ),
        (LIVECODEBENCH | {"private_test_cases": "eJx"}, "field private_test_cases: is neither JSON nor"),
        (
            LIVECODEBENCH | {"private_test_cases": LIVECODEBENCH["private_test_cases"][:80]},
            "field private_test_cases: is neither JSON nor",
        ),
        (LIVECODEBENCH | {"metadata": "[]"}, "field metadata: is list; make it an object"),
        (LIVECODEBENCH_CALL | {"metadata": '{"func_name": "a b"}'}, "field metadata: func_name is 'a b'"),
        (LIVECODEBENCH_CALL | {"metadata": "{}"}, "field metadata: names no func_name, which public_test_cases.0"),
        (
            LIVECODEBENCH_CALL | {"private_test_cases": '[{"input": "1 2", "output": "3"}]'},
            r"field private_test_cases\.0\.input: is not JSON",
        ),
        (LIVECODEBENCH | {"question_id": None}, "field id: is missing or not a string or integer"),
        (APPS | {"input_output": "[]"}, "field input_output: is list; make it an object"),
        (APPS | {"input_output": '{"inputs": []}'}, r"field input_output\.outputs: is missing; make it a list"),
        (
            APPS | {"input_output": '{"inputs": ["1", "2"], "outputs": ["1"]}'},
            "field input_output: has 2 inputs and 1 outputs",
        ),
        (
            APPS | {"input_output": '{"inputs": [1], "outputs": ["1"]}'},
            r"field input_output\.inputs\.0: is int; make it a text",
        ),
        (
            APPS_CALL | {"input_output": '{"fn_name": "f", "inputs": [1], "outputs": [1]}'},
            r"field input_output\.inputs\.0: is int; make it the list of f's arguments",
        ),
        (
            APPS_CALL | {"input_output": '{"fn_name": 3, "inputs": [[1]], "outputs": [1]}'},
            r"field input_output\.fn_name: is 3; give the name of a function",
        ),
        (APPS | {"solutions": '{"a": 1}'}, "field solutions: is not a list of programs"),
        (APPS | {"solutions": "print(1)"}, "field solutions: is not JSON"),
        (CRUXEVAL | {"code": "def g(x):\n    return x"}, "field code: defines no function f"),
        (CRUXEVAL | {"code": "def f("}, "field code: is not Python"),
        (CRUXEVAL | {"input": "1 +"}, "field input: is not Python"),
        (CRUXEVAL | {"input": 3}, "field input: is int; make it a string"),
        (CRUXEVAL | {"output": "["}, "field output: is not Python"),
        (MBPP_SCRIPT | {"test": "def ("}, "field test: is not Python"),
        (MBPP_SCRIPT | {"code": "def other():\n    pass"}, "field test: uses no name that code defines"),
    ],
)
def test_malformed_rows_are_named_with_line_and_field(tmp_path: Path, row: Fields, message: str) -> None:
    file = write(tmp_path / "tasks.jsonl", row)
    with pytest.raises(TaskFileError, match=f"^{file}, line 1, {message}"):
        load_tasks(file)
