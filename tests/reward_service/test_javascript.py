"""A task in JavaScript from its row to its rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.config import RewardConfig
from common.records import Task, Verdict
from common.tasks.loader import TaskFileError, load_tasks
from evaluation.extraction import Extraction
from orchestrator.commands.main import main
from reward_service.criteria import MalformedTaskError
from reward_service.extraction import format_score, program_of
from reward_service.scorable import why_unscorable
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox
from tests.common.tasks.task_rows import write
from tests.reward_service.scoring_tools import FakeSandbox, value
from tests.sandbox import node

SUM = "const fs = require('fs');\nconst all = fs.readFileSync(0, 'utf8').split(/\\s+/).map(Number);\n"
ROW = {
    "id": "sum",
    "prompt": "Print the sum and one more.",
    "language": "javascript",
    "completion": "fenced",
    "reference": f"{SUM}console.log(all.reduce((a, b) => a + b) + 1);\n",
    "tests": [
        {"kind": "stdin", "stdin": "1 2", "expected": "4"},
        {"kind": "stdin", "stdin": "7 8"},
        {"kind": "stdin", "stdin": "0.1 0.2", "expected": "1.3", "comparison": "close", "tolerance": 1e-9},
    ],
}


def load(tmp_path: Path, **changes: object) -> Task:
    return load_tasks(write(tmp_path / "tasks.jsonl", ROW | changes)).tasks[0]


def fenced(code: str, language: str = "javascript") -> str:
    return f"Here:\n```{language}\n{code}```\n"


def test_rewards(tmp_path: Path, sandbox: JailSandbox) -> None:
    node.require()
    right, scorer = str(ROW["reference"]), Scorer(sandbox)
    texts = [fenced(right), fenced(right, "js"), fenced(right.replace("+ 1", "")), fenced("print(4)", "python")]
    scores = scorer.score_group(load(tmp_path), [*texts, fenced("process.exit(0)"), fenced("console.log(4)")])
    scorer.close()
    assert [score.passed for score in scores] == [True, True, False, False, False, False]
    assert [score.components["format"] for score in scores] == [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    assert [one.verdicts.count(Verdict.PASSED) for one in scores[2:]] == [0, 0, 0, 1]


def test_its_own_solution_passes_and_mutants_do_not(tmp_path: Path) -> None:
    node.require()
    write(tmp_path / "tasks.jsonl", ROW)
    result = CliRunner().invoke(main, ["data", "check", str(tmp_path / "tasks.jsonl"), "--slots", "1", "--json"])
    found = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, found["passed"]) == (0, 1), result.output
    assert found["noticed"] == dict.fromkeys(("constant", "empty", "exit", "equal"), 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tests": [{"call": "f()", "expected": "1"}]}, r"tests\.0\.kind: call is for Python"),
        ({"tests": [{"kind": "script", "script": "1"}]}, r"tests\.0\.kind: script is for Python"),
        ({"completion": "asserted_value"}, "completion: asserted_value is for Python"),
        ({"language": "cobol"}, "language"),
    ],
)
def test_what_only_python_has_is_refused(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(TaskFileError, match=problem):
        load(tmp_path, **changes)


def test_a_sandbox_without_node_refuses_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, scorer = load(tmp_path), Scorer(FakeSandbox(value(1), languages=["python"]))
    with pytest.raises(MalformedTaskError, match=r"task 'sum', language: .* runs no javascript; install Node\.js"):
        scorer.score_group(task, [fenced("1")])
    scorer.close()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "this machine has no Node.js; install it" in why_unscorable(task, RewardConfig())
    assert why_unscorable(task, RewardConfig(backend="docker")), "its image is made with this machine's"


def test_the_program_of_an_answer(tmp_path: Path) -> None:
    task = load(tmp_path)
    assert program_of(task, fenced("1;\n")) == Extraction().program(task, fenced("1;\n")) == "1;\n"
    assert format_score(task, fenced("let let"), "let let") == 1.0, "only Python is parsed on the host"
    assert format_score(task, f"{fenced('1')}more", "1") == 0.0
