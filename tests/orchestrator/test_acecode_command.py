"""``couplet data acecode`` on rows of AceCode's shape, against the released preparation as plain loops."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from common.tasks.loader import load_tasks
from orchestrator.commands.main import main

Row = dict[str, Any]

QUESTIONS = (
    "Give the number {n}.",
    "You are given {n}. Return it.",
    "Help the youngest of {n} children.",
    "Return {n}:\nas an integer.",
    "Return {n}, as in\n```\ngive() == {n}\n```\nof the text.",
)
ANSWERS = (
    "def give():\n    return {n}",
    "  def give(a: int = 1) -> int:\n    if a:\n        return {n}\n",
    "def give(): return {n}",
    "import math\ndef give():\n    return {n}",
    "```python\ndef give():\n    return {n}\n```",
    "define it:\n{n}",
    "",
)


def made_up_rows(count: int, seed: int) -> list[Row]:
    chance = random.Random(seed)
    rows = []
    for n in range(count):
        models = ["qwen_coder_2.5"] * 4 + ["llama3_instruct"] * 4 + ["someone_else"] * 2
        inferences = [
            {
                "model_name": model,
                "pass_rate": chance.randrange(9) / 8,
                "completion": chance.choice(ANSWERS).format(n=n),
            }
            for model in models
        ]
        question = chance.choice(QUESTIONS).format(n=n)
        tests = [f"assert give() == {n}", f"assert give() > {n - 1}"]
        rows.append(
            {
                "id": f"oss_{n}",
                "source": "oss",
                "question": question,
                "test_cases": tests,
                "inferences": inferences,
            }
        )
    return rows


def released_rows(rows: list[Row], difficulty: str) -> list[Row]:
    """Restate recipes/process_data.py of apple/ml-diffucoder at f735e01."""
    rates = [
        [i["pass_rate"] for i in row["inferences"] if i["model_name"] in ("qwen_coder_2.5", "llama3_instruct")]
        for row in rows
    ]
    means, deviations = [np.mean(rate) for rate in rates], [np.std(rate) for rate in rates]
    found = []
    for row, mean, deviation in zip(rows, means, deviations, strict=True):
        if difficulty == "hard":
            keep = mean <= np.percentile(means, 20) and deviation >= np.percentile(deviations, 40)
        elif difficulty == "medium":
            keep = np.percentile(means, 25) <= mean <= np.percentile(means, 75)
        else:
            keep = difficulty == "all" or mean >= np.percentile(means, 75)
        if not keep:
            continue
        plain = {name: row[name] for name in ("id", "source", "question", "test_cases")}
        found.append(plain)
        best = row["inferences"][0]
        for inference in row["inferences"]:
            if inference["pass_rate"] > best["pass_rate"]:
                best = inference
        head = best["completion"].partition(":\n")[0].strip()
        if "you" not in row["question"].lower() and head[:4] == "def ":
            lines = ["Please complete the following problem:", "```", f"{head}:", '    """']
            lines += ["    " + row["question"], '    """', "```", ""]
            found.append({**plain, "question": "\n".join(lines)})
    return found


def released_prompt(row: Row) -> str:
    """Restate the user's turn of src/open_r1/grpo.py."""
    shown = "" if "\n```\n" in row["question"] else "\nTest cases: " + row["test_cases"][0]
    return str(row["question"]) + shown


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", "acecode", *map(str, arguments)])


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("difficulty", ["hard", "medium", "easy", "all"])
def test_the_released_rows_and_prompts(tmp_path: Path, difficulty: str) -> None:
    rows = made_up_rows(400, seed=7)
    source, target = write(tmp_path / "acecode.jsonl", rows), tmp_path / "out.jsonl"
    expected = released_rows(rows, difficulty)
    originals = len({row["id"] for row in expected})
    result = run(source, target, "--difficulty", difficulty, "--rephrase", "--json")
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in target.read_text().splitlines()] == expected
    record = json.loads(result.stdout.splitlines()[-1])
    assert (record["kept"], record["rephrased"]) == (originals, len(expected) - originals)
    assert 0 < record["rephrased"] < originals

    report = load_tasks(target)
    assert report.skipped == report.left_out == ()
    assert [task.prompt for task in report.tasks] == [released_prompt(row) for row in expected]
    assert len({task.id for task in report.tasks}) == len(expected)
    assert [task.shown_tests for task in report.tasks] == ["Test cases: " in t.prompt for t in report.tasks]

    assert run(source, target, "--difficulty", difficulty).exit_code == 0
    assert [json.loads(line)["question"] for line in target.read_text().splitlines()] == [
        row["question"] for row in expected if not row["question"].startswith("Please complete")
    ]


def test_a_rephrased_row_is_told_apart_in_any_order(tmp_path: Path) -> None:
    made = {**made_up_rows(1, seed=0)[0], "question": "Give 0."}
    made["inferences"] = [
        {"model_name": "llama3_instruct", "pass_rate": 0, "completion": "def give():\n    return 1"}
    ]
    pair = released_rows([made], "all")
    assert len(pair) == 2
    for rows in (pair, pair[::-1]):
        report = load_tasks(write(tmp_path / "released.jsonl", rows))
        assert sorted(task.id for task in report.tasks) == ["oss_0", "oss_0/rephrased"]
        assert all(task.tests == report.tasks[0].tests for task in report.tasks)
    result = CliRunner().invoke(main, ["data", "show", str(write(tmp_path / "twice.jsonl", [pair[1], pair[1]]))])
    assert result.exit_code == 2
    assert "field id: 'oss_0/rephrased' was already used on line 1" in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ""}, "line 1, field question: is missing or empty"),
        ({"inferences": None}, "line 1, field inferences: is missing or no list"),
        ({"inferences": [{"model_name": "x", "pass_rate": 1}]}, "line 1, field inferences: .* without completion"),
    ],
)
def test_rows_that_cannot_be_rephrased_are_named(tmp_path: Path, changes: Row, message: str) -> None:
    source = write(tmp_path / "in.jsonl", [{**made_up_rows(1, 0)[0], "question": "Give it.", **changes}])
    result = run(source, tmp_path / "out.jsonl", "--difficulty", "all", "--rephrase")
    assert result.exit_code == 2
    assert message.partition(".*")[0] in result.stderr
    assert message.partition(".* ")[2] in result.stderr


@pytest.mark.parametrize(
    ("changes", "target"),
    [({"question": "Half a pair: \ud800"}, "out.jsonl"), ({"level": 2**70}, "out.parquet")],
)
def test_rows_that_no_file_can_hold_leave_the_old_one(tmp_path: Path, changes: Row, target: str) -> None:
    source = write(tmp_path / "in.jsonl", [{**made_up_rows(1, 0)[0], **changes}])
    (tmp_path / target).write_text("old")
    result = run(source, tmp_path / target, "--difficulty", "all")
    assert result.exit_code == 2
    assert f"{target}: cannot be written (" in result.stderr
    assert (tmp_path / target).read_text() == "old"


def test_a_percentile_is_a_number(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", made_up_rows(2, 0))
    result = run(source, tmp_path / "out.jsonl", "--mean-percentile", "nan")
    assert (result.exit_code, "'nan' is not a finite number" in result.stderr) == (2, True)
