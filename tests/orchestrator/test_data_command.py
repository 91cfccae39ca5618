from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def problem(number: int, *rates: float) -> dict[str, Any]:
    return {
        "id": f"ace_{number}",
        "source": "oss",
        "question": f"Give {number}, in français.",
        "test_cases": [f"assert give() == {number}", "assert True", "assert abs(give()) > 0"],
        "inferences": [
            {"model_name": name, "completion": "x", "pass_rate": rate}
            for name, rate in zip(("qwen_coder_2.5", "llama3_instruct"), rates, strict=True)
        ],
    }


# Means 0.1, 0.15, 0.5, 0.75, 1: the lowest fifth ends at 0.14.
PROBLEMS = [problem(1, 1, 1), problem(2, 0.2, 0.0), problem(3, 1, 0), problem(4, 0.5, 1), problem(5, 0.2, 0.1)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("source", ["in.jsonl", "in.jsonl.gz", "in.parquet"])
@pytest.mark.parametrize("target", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_the_hard_split_from_any_file_to_any(tmp_path: Path, source: str, target: str) -> None:
    (tmp_path / target).write_text("old")
    result = run("acecode", write(tmp_path / source, PROBLEMS), tmp_path / target, "--json")
    assert result.exit_code == 0, result.output
    kept = {name: value for name, value in PROBLEMS[1].items() if name != "inferences"}
    assert read(tmp_path / target) == [kept]
    assert stat.S_IMODE((tmp_path / target).stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source, target})
    record = json.loads(result.stdout.splitlines()[-1])
    assert (record["rows"], record["kept"], record["too_easy"], record["too_even"]) == (5, 1, 4, 0)
    assert (record["difficulty"], record["rephrased"], record["written"]) == ("hard", 0, 1)
    assert record["mean_at_most"] == pytest.approx(0.14)
    assert "mean above 0.1400" in result.stdout


def test_percentiles_and_models_are_options(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", PROBLEMS), tmp_path / "out.jsonl"
    result = run("acecode", source, target, "--mean-percentile", 50, "--std-percentile", 100)
    assert result.exit_code == 0, result.output
    assert [row["id"] for row in read(target)] == ["ace_3"]
    result = run(
        "acecode", source, target, "--model", "llama3_instruct", "--mean-percentile", 0, "--std-percentile", 0
    )
    assert [row["id"] for row in read(target)] == ["ace_2", "ace_3"]
    result = run("acecode", source, target, "--difficulty", "easy", "--std-percentile", 50)
    assert result.exit_code == 2
    assert "bound the hard split; leave them out with easy" in result.stderr


@pytest.mark.parametrize(
    ("target", "row", "message"),
    [
        ("out.csv", PROBLEMS[0], "out.csv: of no known kind"),
        ("none/out.jsonl", PROBLEMS[0], "its folder does not exist"),
        ("out.jsonl", {"id": "x"}, "line 2, field inferences: is missing"),
    ],
)
def test_nothing_is_written_for_bad_input(tmp_path: Path, target: str, row: dict[str, Any], message: str) -> None:
    source = write(tmp_path / "in.jsonl", [PROBLEMS[1], row])
    result = run("acecode", source, tmp_path / target)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_it_shows_what_became_of_a_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [*PROBLEMS, {**PROBLEMS[0], "id": "ace_6", "test_cases": ["assert 1"]}])
    result = run("show", source, "--task", "ace_2", "--json")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    text = "\n".join(lines)
    for part in (
        "6 acecode",
        "5, 0 with a reference",
        "5 call, 5 script",
        "rows skipped: 1\n  6 (ace_6): no test can be used",
        "tests left out: 5\n  1 (ace_1): test 2: tests nothing",
        "task ace_2, fenced",
        "call: give() -> 2",
        "script: assert abs(give()) > 0",
    ):
        assert part in text
    record = json.loads(last)
    assert (record["tasks"], record["tests"]) == (5, {"call": 5, "script": 5})
    assert record["task"]["exports"] == ["give"]
    assert record["skipped"][0][:2] == [6, "ace_6"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "nope"], "no task 'nope'; its first is 'ace_1'"),
        (["--format", "sums"], "'sums' is no task format known here; choose one of"),
        (["--format", "humaneval"], "line 1, field prompt: is missing or empty"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    result = run("show", write(tmp_path / "in.jsonl", PROBLEMS), *options)
    assert result.exit_code == 2
    assert message in result.stderr
    missing = run("show", tmp_path / "nowhere.jsonl")
    assert missing.exit_code == 2
    assert "there is no such file" in missing.stderr
