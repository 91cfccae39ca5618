"""``couplet data check`` on task files of every quality, in a real sandbox, and on public ones where they are."""

from __future__ import annotations

import ast
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.data.mutants import MAX_CONSTANTS, constant_mutants, fixed_mutants
from orchestrator.commands.main import main
from tests.common.tasks.task_rows import APPS, APPS_CALL, CRUXEVAL
from tests.outside_data import outside_data

ADD = "def add(a, b):\n    '''Both.'''\n    return a + b + 0\n"
TESTS = [{"call": "add(1, 2)", "expected": "3"}, {"kind": "script", "script": "assert add(2, 2) == 4"}]


def task(
    name: str, reference: str | None = ADD, tests: list[dict[str, str]] = TESTS, **fields: Any
) -> dict[str, Any]:
    base = {"id": name, "prompt": "Add.", "completion": "fenced", "exports": ["add"], "entry_point": "add"}
    return base | {"tests": tests, "reference": reference} | fields


def run(folder: Path, *rows: dict[str, Any], more: tuple[str, ...] = ()) -> Result:
    file = folder / "tasks.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return CliRunner().invoke(main, ["data", "check", str(file), "--slots", "2", "--json", *more])


def record(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_sound_file(tmp_path: Path) -> None:
    continued = task("b", "    return a + b\n", completion="continuation", prefix="def add(a, b):\n")
    result = run(tmp_path, task("a"), continued)
    assert result.exit_code == 0, result.output
    found = record(result)
    assert (found["tasks"], found["passed"], found["failed"], found["not_run"]) == (2, 2, 0, 0)
    assert found["noticed"] == {"constant": 2, "empty": 2, "exit": 2, "equal": 2}
    assert found["survivors"] == {}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        task("wrong", "def add(a, b):\n    return a * b\n"),
        task("blind", tests=[{"call": "type(add(1, 2)).__name__ != 'x'", "expected": "True"}]),
        task("bare", None),
        task("library", f"import no_such_library\n{ADD}"),
    )
    assert result.exit_code == 1, result.output
    found = record(result)
    assert list(found["exceptions"]) == ["wrong"]
    assert "add(1, 2)" in found["exceptions"]["wrong"]
    assert {"empty", "equal", "constant"} <= found["survivors"]["blind"].keys()
    assert found["left"] == {"bare": "it has no reference", "library": "needs no_such_library"}


def test_libraries_from_a_folder_of_packages(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as packages:  # the jail has a /tmp of its own
        os.chmod(packages, 0o755)
        (Path(packages) / "no_such_library.py").write_text("ZERO = 0\n")
        result = run(tmp_path, task("library", f"import no_such_library\n{ADD}"), more=("--packages", packages))
    assert result.exit_code == 0, result.output
    assert record(result)["passed"] == 1


@pytest.mark.parametrize(
    ("format_name", "rows"),
    [
        (
            "cruxeval-o",
            [CRUXEVAL, CRUXEVAL | {"id": "b", "code": "def f():\n    return []", "input": "", "output": "[]"}],
        ),
        (
            "cruxeval-i",
            [CRUXEVAL, CRUXEVAL | {"id": "b", "code": "def f(x, n):\n    return None", "output": "None"}],
        ),
        ("apps", [APPS, APPS_CALL]),
    ],
)
def test_contests_and_assertions(tmp_path: Path, format_name: str, rows: list[dict[str, Any]]) -> None:
    result = run(tmp_path, *rows, more=("--format", format_name))
    assert result.exit_code == 0, result.output
    found = record(result)
    assert found["passed"] == 2
    assert found["noticed"] == dict.fromkeys(("constant", "empty", "exit", "equal"), 2)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["data", "check", str(tmp_path / "none.jsonl")])
    assert result.exit_code == 2
    assert "there is no such file" in result.output


def test_a_public_data_set() -> None:
    file = outside_data("data/humaneval/HumanEval.jsonl.gz")
    found = record(CliRunner().invoke(main, ["data", "check", str(file), "--json"]))
    assert (found["tasks"], found["passed"]) == (164, 164)
    assert found["noticed"] == dict.fromkeys(("constant", "empty", "exit", "equal"), 164)


def test_fixed_mutants_change_what_the_tests_use() -> None:
    source = "from __future__ import annotations\ndef helper(x):\n    return x\n"
    source += "def add(a, b):\n    return helper(a) + b\n"
    mutants = fixed_mutants(source, {"add"})
    assert set(mutants) == {"empty", "exit", "equal"}
    for mutant in mutants.values():
        compile(mutant.source, "mutant", "exec")
        assert "return x" in mutant.source
        assert "helper(a)" not in mutant.source


def test_fixed_mutants_of_a_script_replace_it() -> None:
    assert fixed_mutants("print(int(input()) + 1)", ())["empty"].source == "pass\n"


def test_constant_mutants_change_one_place_each() -> None:
    source = "def f(x):\n    '''Text.'''\n    if x > 3 and not x == 7:\n"
    source += "        return x * 2\n    return [x, 'a', True]\n"
    mutants = list(constant_mutants(source, {"f"}))
    plain = ast.unparse(ast.parse(source))
    assert len(mutants) == len({mutant.source for mutant in mutants})
    assert all(mutant.source != plain and "Text." in mutant.source for mutant in mutants)
    assert {"line 3: x > 3 -> x <= 3", "line 4: 2 -> 3", "line 4: x * 2 -> x + 2"} <= {m.change for m in mutants}


def test_constant_mutants_are_bounded() -> None:
    source = "def f():\n    return [" + "1, " * 100 + "]\n"
    assert len(list(constant_mutants(source, {"f"}))) == MAX_CONSTANTS
