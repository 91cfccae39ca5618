from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main
from reward_service import scoring_pool
from sandbox.jail.backend import JailSandbox

ADD = {
    "id": "add",
    "prompt": "def add(a, b):\n",
    "prefix": "def add(a, b):\n",
    "tests": [{"call": "add(1, 2)", "expected": "3"}, {"call": "add(2, 2)", "expected": "4"}],
}
ROOT = {
    "id": "root",
    "prompt": "Print the root of a number.",
    "prefix": "import math\n",
    "completion": "fenced",
    "tests": [{"kind": "stdin", "stdin": "16\n", "expected": "4"}],
}
ASKS = {
    "id": "asks",
    "prompt": "def f():\n",
    "prefix": "def f():\n",
    "tests": [{"call": "f()"}],
    "reference": "    raise KeyError\n",
}
LOUD = "    raise ValueError('\\x1b[2J loud')\n"
BLOCK = "```python\nprint(math.isqrt(int(input())))\n```\n"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write(tmp_path / "tasks.jsonl", ADD, ROOT, ASKS)


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    return write(
        tmp_path / "completions.jsonl",
        {"task_id": "root", "completion": BLOCK},
        {"task_id": "add", "completions": ["    return a + b\n", "    return 4\n", LOUD]},
        {"task_id": "add", "solution": "def add(x, y):\n    return y + x\n"},
        {"task_id": "root", "solution": "print(math.isqrt(int(input())) + 1)"},
    )


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments), "--slots", "2"], catch_exceptions=False)


def test_verdicts_rewards_and_a_summary(tasks: Path, completions: Path) -> None:
    result = run(tasks, completions)
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    rows = {"".join(line.split()[:2]): line.split()[2:] for line in lines if "#" in line}
    assert rows["root#0"] == ["2.500", "."]
    assert rows["add#0"] == ["2.500", ".."]
    assert rows["add#1"] == ["1.500", "F.", "failed"]
    assert rows["add#2"][:3] == ["0.500", "EE", "error:"]
    assert rows["add#3"] == ["2.500", ".."]
    assert rows["root#1"] == ["0.500", "F", "failed"]
    assert "\x1b[2J" not in result.stdout
    summary = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert (summary["tasks"], summary["completions"]) == ("2", "6")
    assert summary["tests passed"] == "60.0% (6 of 10)"
    assert summary["all tests passed"] == "50.0% (3 of 6)"
    assert summary["verdicts"] == "6 passed, 2 failed, 2 error"
    assert "6 programs run" in summary["time"]
    assert "100%" in result.stderr


def test_a_share_of_the_tests_is_worth_nothing_where_only_all_pay(tasks: Path, completions: Path) -> None:
    result = run(tasks, completions, "--tests", "all_or_nothing")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("add #1")]
    assert line.split()[2:] == ["0.500", "F.", "failed"]


def test_lines_of_json_in_the_order_of_the_file_also_from_parquet(
    tasks: Path, completions: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scores.jsonl"
    result = run(tasks, completions, "--json", "--output", output)
    assert result.exit_code == 0
    assert output.read_text() == result.stdout
    records = [json.loads(line) for line in output.read_text().splitlines()]
    order = [(record["task_id"], record["number"], record["place"]) for record in records]
    assert order == [
        ("root", 0, "line 1"),
        ("add", 0, "line 2"),
        ("add", 1, "line 2"),
        ("add", 2, "line 2"),
        ("add", 3, "line 3"),
        ("root", 1, "line 4"),
    ]
    assert [record["passed"] for record in records] == [True, True, False, False, True, False]
    assert records[2]["components"] == {"tests": 0.5, "format": 1.0}
    assert [test["verdict"] for test in records[2]["tests"]] == ["failed", "passed"]
    assert "loud" in records[3]["tests"][0]["note"]

    rows = [json.loads(line) for line in completions.read_text().splitlines()]
    parquet = tmp_path / "completions.parquet"
    pq.write_table(pa.Table.from_pylist([{"solution": None, "completions": None, **row} for row in rows]), parquet)
    again = [json.loads(line) for line in run(tasks, parquet, "--json").stdout.splitlines()]
    assert [(r["place"], r["reward"]) for r in again] == [
        (r["place"].replace("line", "row"), r["reward"]) for r in records
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"task_id": "nope", "completion": ""}, "line 2, field task_id: 'nope' is none of the 3 tasks"),
        ({"completion": ""}, "line 2, field task_id: is missing"),
        ({"task_id": "add"}, "line 2, field completion: is missing; give one of"),
        ({"task_id": "add", "completions": [1]}, "line 2, field completions: is neither text nor a list"),
        ({"task_id": True, "completion": ""}, "line 2, field task_id: is missing or neither"),
    ],
)
def test_a_bad_row_is_named_before_anything_runs(
    tasks: Path, tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    file = write(tmp_path / "completions.jsonl", {"task_id": "add", "completion": ""}, row)
    output = tmp_path / "scores.jsonl"
    result = run(tasks, file, "--output", output)
    assert result.exit_code == 2
    assert f"error: {file}, {problem}" in result.stderr
    assert not output.exists()


def test_missing_files_and_folders_are_named(tasks: Path, completions: Path, tmp_path: Path) -> None:
    for arguments, problem in (
        ((tmp_path / "none.jsonl", completions), "none.jsonl: there is no such file"),
        ((tasks, tmp_path / "none.jsonl"), "none.jsonl: there is no such file"),
        ((tasks, completions, "--format", "unheard-of"), "unheard-of"),
        ((tasks, completions, "--output", tmp_path / "no" / "where.jsonl"), "there is no such folder; make it"),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert problem in result.stderr


def test_a_task_that_cannot_be_judged_is_an_error_beside_the_scores_of_the_others(
    tasks: Path, tmp_path: Path
) -> None:
    file = write(
        tmp_path / "completions.jsonl",
        {"task_id": "asks", "completion": "    return 1\n"},
        {"task_id": "add", "completion": "    return a + b\n"},
    )
    result = run(tasks, file, "--json")
    assert result.exit_code == 2
    assert "1 task cannot be scored:\n  task 'asks', tests.0: the reference ended in error" in result.stderr
    refused, fine = map(json.loads, result.stdout.splitlines())
    assert "tests.0" in refused["error"]
    assert fine["passed"]


def test_our_own_failures_are_excluded_and_the_exit_code_says_so(
    tasks: Path, completions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: object) -> JailSandbox:
        sandbox = JailSandbox(1)
        sandbox.close()
        return sandbox

    monkeypatch.setattr(scoring_pool, "make_sandbox", closed)
    result = run(tasks, completions)
    assert result.exit_code == 1
    assert "which are excluded" in result.stderr
    assert "10 infra" in result.stdout
    assert "excluded" in result.stdout


def test_what_packages_lack_is_said_and_what_they_have_is_used(tmp_path: Path) -> None:
    fields = {"prompt": "from lib import one\n\ndef f():\n", "prefix": "from lib import one\n\ndef f():\n"}
    tasks = write(tmp_path / "tasks.jsonl", {"id": "uses", **fields, "tests": [{"call": "f()", "expected": "1"}]})
    completions = write(tmp_path / "completions.jsonl", {"task_id": "uses", "completion": "    return one\n"})
    lacking = run(tasks, completions)
    assert lacking.exit_code == 2
    assert "task 'uses': needs lib; name a folder that has it with reward.packages (--packages)" in lacking.output
    with tempfile.TemporaryDirectory(dir="/var/tmp") as packages:  # the jail has a /tmp of its own
        os.chmod(packages, 0o755)
        (Path(packages) / "lib.py").write_text("import sys\none = int(not sys.argv[0])\n")
        imported = run(tasks, completions, "--packages", packages)
        preloaded = run(tasks, completions, "--packages", packages, "--preload", "lib")
        unknown = run(tasks, completions, "--packages", packages, "--preload", "lib2")
    assert "1 failed" in imported.output, "imported by the program, which has a name"
    assert "1 passed" in preloaded.output
    assert f"preload: there is no module lib2 in {packages}" in unknown.output
    assert "--preload: names modules of packages" in run(tasks, completions, "--preload", "lib").output
