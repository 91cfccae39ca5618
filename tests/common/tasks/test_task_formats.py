"""Published rows as tasks; whether the tasks hold is tried on their own references, in this process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from common.records import Task
from common.tasks.libraries import third_party
from common.tasks.literals import MAX_CALL_CHARS
from common.tasks.loader import TaskFileError, load_tasks
from tests.common.tasks.task_rows import (
    ACECODE,
    BIGCODEBENCH,
    HUMANEVAL,
    HUMANEVAL_PLUS,
    MBPP,
    MBPP_PLUS,
    OWN,
    SANITIZED,
    Fields,
    write,
)


def load(tmp_path: Path, row: Fields, format_name: str | None = None) -> Task:
    report = load_tasks(write(tmp_path / "tasks.jsonl", row), format_name)
    assert report.skipped == report.left_out == ()
    return report.tasks[0]


def passes(task: Task, reference: str | None = None) -> list[bool]:
    """Per test, the reference or another completion; as the two processes of the sandbox do it."""
    solution: dict[str, object] = {}
    theirs: dict[str, object] = {}
    exec(task.prefix + (reference or task.reference or ""), solution)
    exec(task.test_setup, theirs)
    theirs.update({name: solution[name] for name in task.exports})
    results = []
    for test in task.tests:
        try:
            if test.kind == "script":
                exec(test.script, dict(theirs))
                results.append(True)
            else:
                value = eval(test.call, solution)
                results.append(test.expected is None or value == ast.literal_eval(test.expected))
        except (AssertionError, AttributeError, NameError, TypeError, ValueError):
            results.append(False)
    return results


@pytest.mark.parametrize(
    ("row", "name", "kind"),
    [
        (MBPP, "mbpp", "call script"),
        (SANITIZED, "mbpp", "call script"),
        (ACECODE, "acecode", "call"),
        (HUMANEVAL, "humaneval", "script"),
        (HUMANEVAL_PLUS, "humaneval+", "call"),
        (HUMANEVAL_PLUS | {"test": HUMANEVAL["test"]}, "humaneval+", "call"),
        (MBPP_PLUS, "mbpp+", "call"),
        (BIGCODEBENCH, "bigcodebench", "script"),
        (OWN, "couplet", "stdin"),
    ],
)
def test_a_row_is_known_by_its_fields(tmp_path: Path, row: Fields, name: str, kind: str):
    report = load_tasks(write(tmp_path / "tasks.jsonl", row))
    assert report.formats == {name: 1}
    assert " ".join(sorted({test.kind for test in report.tasks[0].tests})) == kind


def test_mbpp(tmp_path: Path):
    task = load(tmp_path, MBPP)
    assert (task.id, task.completion, task.reference, task.shown_tests) == ("11", "fenced", MBPP["code"], 1)
    assert task.prompt == "Add one.\nTest cases: assert inc(1) == 2"
    assert (task.prefix, task.exports) == ("import math\n", ("inc",))
    assert [(test.call, test.expected) for test in task.tests[:2]] == [("inc(1)", "2"), ("inc(-1)", "0")]
    assert task.tests[2].script == "assert inc(10**3) == 1001"  # a power is computed, so no literal
    assert all(passes(task))
    assert passes(task, "def inc(x):\n    return 2") == [True, False, False]


def test_sanitized_mbpp(tmp_path: Path):
    task = load(tmp_path, SANITIZED)
    assert (task.prefix, task.test_setup, task.exports) == ("import math\n", "import math\n", ("half",))
    assert all(passes(task))
    # The tests judge with their own math.
    assert passes(task, "class math:\n    isclose = max\ndef half(x):\n    return 1") == [False, True]


def test_acecode(tmp_path: Path):
    task = load(tmp_path, ACECODE)
    assert (task.id, task.family, task.prefix, task.reference) == ("ace_1", "oss", "", None)
    assert task.exports == ("neg",)


def test_setup_that_builds_on_the_solution_runs_in_front_of_every_test(tmp_path: Path):
    row = MBPP | {
        "code": "class Node:\n    pass\ndef size(node):\n    return node.n",
        "test_setup_code": "root = Node()\nroot.n = 3",
        "test_list": ["assert size(root) == 3"],
        "challenge_test_list": [],
    }
    task = load(tmp_path, row)
    assert (task.prefix, task.exports) == ("", ("Node", "size"))
    assert task.tests[0].script == "root = Node()\nroot.n = 3\nassert size(root) == 3"
    assert task.prompt.endswith("\nTest cases: assert size(root) == 3")
    assert all(passes(task))


def test_humaneval_is_split_into_its_asserts(tmp_path: Path):
    task = load(tmp_path, HUMANEVAL)
    assert (task.completion, task.prefix, task.exports) == ("continuation", task.prompt, ("root",))
    assert [test.script.splitlines() for test in task.tests] == [
        ["candidate = root", "assert candidate(4) == 2"],
        ["candidate = root", "y = 3", "assert abs(square(candidate(y)) - y) < 1e-09, 'far'"],
    ]
    assert all(passes(task))
    assert passes(task, "    return 2.0\n") == [True, False]


@pytest.mark.parametrize(
    ("body", "tests"),
    [
        ("    for i in range(3):\n        assert candidate(i) >= 0\n    assert candidate(1) == 1\n", 2),
        ("    for i in range(3):\n        assert candidate(i) >= 0\n    assert candidate(i) > 1\n", 1),
        ("    assert candidate(1) == 1\n    return\n", 1),
        ("    assert candidate(1) == 1\n", 1),
    ],
)
def test_a_check_that_is_no_list_of_asserts_stays_whole(tmp_path: Path, body: str, tests: int):
    task = load(tmp_path, HUMANEVAL | {"test": f"def check(candidate):\n{body}"})
    assert len(task.tests) == tests
    assert all(passes(task))


def test_humaneval_plus(tmp_path: Path):
    task = load(tmp_path, HUMANEVAL_PLUS)
    assert [test.call for test in task.tests] == ["double(1)", "double([2])", "double('a')", "double(1.5)"]
    assert {(test.expected, test.comparison, test.tolerance) for test in task.tests} == {(None, "close", 1e-6)}
    assert all(passes(task))
    assert len(load(tmp_path, HUMANEVAL_PLUS, "humaneval+base").tests) == 2
    assert load(tmp_path, HUMANEVAL_PLUS | {"atol": 0.01}).tests[0].tolerance == 0.01
    assert load(tmp_path, HUMANEVAL_PLUS | {"plus_input": {}}).tests == task.tests[:2]
    as_text = HUMANEVAL_PLUS | {"base_input": "[[1], [[2]]]", "plus_input": '[["a"], [1.5]]'}
    assert load(tmp_path, as_text) == task


def test_any_zero_of_the_polynomial_will_do(tmp_path: Path):
    row = HUMANEVAL_PLUS | {
        "prompt": 'def poly(xs, x):\n    return xs[0] + xs[1] * x\n\ndef find_zero(xs):\n    """A zero."""\n',
        "entry_point": "find_zero",
        "canonical_solution": "    return -xs[0] / xs[1]\n",
        "base_input": [[[2.0, 4.0]]],
        "plus_input": [],
        "atol": 1e-4,
    }
    task = load(tmp_path, row)
    assert (task.tests[0].kind, task.exports) == ("script", ("find_zero",))
    assert passes(task) == passes(task, "    return -0.50001\n") == [True]
    assert passes(task, "    return -0.5001\n") == [False]
    assert passes(task, "    global poly\n    poly = lambda *_: 0\n    return 7\n") == [False]


def test_mbpp_plus_shows_the_input_of_its_prompt_first(tmp_path: Path):
    task = load(tmp_path, MBPP_PLUS)
    assert (task.completion, task.prefix, task.shown_tests) == ("fenced", "", 1)
    assert task.prompt == "Add them.\nassert add([1], 2) == [1, 2]"
    assert [test.call for test in task.tests] == ["add([1], 2)", "add([], 0)", "add([3], None)"]
    assert all(passes(task))
    assert [test.call for test in load(tmp_path, MBPP_PLUS, "mbpp+base").tests] == ["add([1], 2)", "add([], 0)"]
    assert load(tmp_path, MBPP_PLUS | {"prompt": "Add."}).shown_tests == 0


@pytest.mark.parametrize(
    ("number", "arguments", "call"),
    [
        (2, [[1], [2]], "(1,), (2,)"),
        (63, [[[1, 2]]], "[(1, 2)]"),
        (75, [[[1], []], 2], "[(1,), ()], 2"),
        (106, [[1], [2]], "[1], (2,)"),
        (115, [[[1], []]], "[{1}, {}]"),
        (124, ["0", "1j"], "0.0, (0.0 + 1.0 * 1j)"),
        (252, [1], "(1.0 + 0.0 * 1j)"),
        (259, [[[1], [2]]], "((1,), (2,))"),
        (278, [[1, [2]]], "(1, (2,))"),
        (580, [[1, [2, [3]]]], "(1, (2, (3,)))"),
        (722, [{"a": [1, 2]}, 3], "{'a': (1, 2)}, 3"),
        (9000, [[[1]]], "[[1]]"),
    ],
)
def test_mbpp_plus_arguments_get_their_types_back(tmp_path: Path, number: int, arguments: list[object], call: str):
    row = MBPP_PLUS | {"task_id": f"Mbpp/{number}", "base_input": [arguments], "plus_input": []}
    assert load(tmp_path, row).tests[0].call == f"add({call})"


def test_mbpp_plus_problems_with_rules_of_their_own(tmp_path: Path):
    def made(entry_point: str, body: str, *arguments: object) -> Task:
        code = f"import re\ndef {entry_point}{body}"
        return load(
            tmp_path,
            MBPP_PLUS
            | {
                "entry_point": entry_point,
                "canonical_solution": code,
                "base_input": [list(arguments)],
                "plus_input": [],
            },
        )

    assert made("Diff", "(a, b):\n    return a", [1], [2]).tests[0].comparison == "as_set"
    yes = made("check_str", "(s):\n    return re.match('a', s)", "abc").tests[0]
    for answer, said in ((object(), True), (True, True), (False, False), (None, False)):
        assert eval(yes.call, {"check_str": lambda _, answer=answer: answer}) is said
    for entry_point, body, arguments, other in (
        ("sum_div", "(n):\n    return sum(i for i in range(1, n) if n % i == 0)", (6,), "0"),
        ("surface_Area", "(b, s):\n    return 2 * b * s + b * b", (3, 4), "35"),
        ("digit_distance_nums", "(a, b):\n    return sum(map(int, str(abs(a - b))))", (10, 5), "6"),
    ):
        task = made(entry_point, body, *arguments)
        parameters = body.split(":")[0]
        assert passes(task) == [True]
        assert passes(task, f"def {entry_point}{parameters}:\n    return {other}") == [True]
        assert passes(task, f"def {entry_point}{parameters}:\n    return -1") == [False]


def test_calls_too_long_to_send_are_left_out(tmp_path: Path):
    long = "x" * MAX_CALL_CHARS
    report = load_tasks(write(tmp_path / "tasks.jsonl", HUMANEVAL_PLUS | {"plus_input": [[long], [3]]}))
    assert len(report.tasks[0].tests) == 3
    assert report.left_out == ((1, "HumanEval/901", "test 3: its call takes 200,002 characters, over 200,000"),)
    report = load_tasks(
        write(tmp_path / "tasks.jsonl", HUMANEVAL_PLUS | {"base_input": [[long]], "plus_input": []})
    )
    assert report.tasks == ()
    assert "no test can be used; test 1: its call" in report.skipped[0][2]


def test_bigcodebench(tmp_path: Path):
    task = load(tmp_path, BIGCODEBENCH)
    assert (task.completion, task.prefix, task.in_process) == (
        "continuation",
        BIGCODEBENCH["complete_prompt"],
        False,
    )
    assert [test.script[len("unittest.TestSuite([") :] for test in task.tests] == [
        f"{name}]).debug()"
        for name in (
            "TestCases('test_one')",
            "TestCases('test_two')",
            "More('test_one')",
            "More('test_two')",
            "More('test_three')",
        )
    ]
    assert all(passes(task))
    # Their own json and KEY judge.
    assert passes(task, "    global KEY\n    KEY = 'other'\n    return json.dumps({KEY: x})")[0] is False
    assert third_party(task) == ("numpy",)
    patching = BIGCODEBENCH["test"].replace(
        "import unittest\n", "import unittest\nfrom unittest.mock import patch\n"
    )
    assert load(tmp_path, BIGCODEBENCH | {"test": patching}).in_process


def test_bigcodebench_as_a_chat_question(tmp_path: Path):
    task = load(tmp_path, BIGCODEBENCH, "bigcodebench-instruct")
    assert (task.completion, task.prefix, task.prompt) == ("fenced", "", "Dump it.")
    assert task.reference == BIGCODEBENCH["code_prompt"] + BIGCODEBENCH["canonical_solution"]
    assert all(passes(task))


def test_libraries_are_found_wherever_they_are_imported():
    task = Task(
        id="x",
        prompt="p",
        prefix="import os, pandas.core\n",
        reference="def f():\n    from sklearn.svm import SVC\n",
        test_setup="from . import local\nimport numpy as np\n",
        tests=(),
    )
    assert third_party(task) == ("numpy", "pandas", "sklearn")
    assert third_party(task.model_copy(update={"reference": "def ("})) == ("numpy", "pandas")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (HUMANEVAL | {"prompt": ""}, "field prompt: is missing or empty"),
        (HUMANEVAL | {"prompt": "def f(x):\n"}, "field prompt: is not Python"),
        (HUMANEVAL | {"canonical_solution": "return ("}, "field canonical_solution: is not Python"),
        (HUMANEVAL | {"test": "def check():\n    pass"}, "field test: defines no check"),
        (HUMANEVAL | {"entry_point": 3}, "field entry_point: is int; make it a string"),
        (HUMANEVAL_PLUS | {"base_input": 3}, "field base_input: is not a list of argument lists"),
        (HUMANEVAL_PLUS | {"base_input": "[1"}, "field base_input: is not JSON"),
        (HUMANEVAL_PLUS | {"base_input": [], "plus_input": []}, "field base_input: is missing or empty"),
        (HUMANEVAL_PLUS | {"atol": -1}, "field atol: is not a number"),
        (MBPP_PLUS | {"canonical_solution": "def"}, "field canonical_solution: is, after the prompt, not Python"),
        (MBPP_PLUS | {"task_id": "Mbpp/2", "base_input": [[1]]}, "field base_input: is not what MBPP"),
        (MBPP_PLUS | {"task_id": "Mbpp/106", "base_input": [[1]]}, "field base_input: is not what MBPP"),
        (BIGCODEBENCH | {"test": "class ("}, "field test: is not Python"),
        (BIGCODEBENCH | {"code_prompt": None}, "field code_prompt: is missing or empty"),
        (OWN | {"prompt": "half \ud800"}, r"line 1, field prompt: holds \\ud800, half of a surrogate pair"),
    ],
)
def test_malformed_rows_of_published_formats_are_named(tmp_path: Path, row: Fields, message: str):
    with pytest.raises(TaskFileError, match=message):
        load_tasks(write(tmp_path / "tasks.jsonl", row))


def test_a_row_without_test_methods_is_skipped(tmp_path: Path):
    report = load_tasks(write(tmp_path / "tasks.jsonl", BIGCODEBENCH | {"test": "import unittest"}))
    assert "no class of unittest.TestCase" in report.skipped[0][2]
