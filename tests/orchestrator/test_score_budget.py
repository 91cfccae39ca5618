"""`couplet score` bounds a program's tests together, as a run does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.commands.main import main


@pytest.mark.parametrize(
    ("options", "verdicts"), [((), ["timeout", "passed"]), (("--timeouts", "1"), ["timeout"] * 2)]
)
def test_after_so_many_timeouts_the_rest_is_timeout(
    tmp_path: Path, options: tuple[str, ...], verdicts: list[str]
) -> None:
    tasks, samples, output = tmp_path / "tasks.jsonl", tmp_path / "samples.jsonl", tmp_path / "out.jsonl"
    tests = [{"kind": "stdin", "stdin": text, "expected": text} for text in ("1", "2")]
    tasks.write_text(json.dumps({"id": "hang", "prompt": "Echo.", "tests": tests}))
    program = "n = int(input())\nwhile n == 1: pass\nprint(n)\n"
    samples.write_text(json.dumps({"task_id": "hang", "completion": program}))
    given = [str(tasks), str(samples), "--slots", "1", "--cpu-seconds", "0.2", "--output", str(output), *options]
    result = CliRunner().invoke(main, ["score", *given])
    assert result.exit_code == 0, result.output
    assert [test["verdict"] for test in json.loads(output.read_text())["tests"]] == verdicts
