"""`couplet evaluate --confidence`: confidences at the first steps, beside samples that it does not touch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evaluation.analysis.confidence import FIRST_STEPS
from evaluation.analysis.recorded import read_evaluation
from orchestrator.commands.main import main
from tests.learner.causal_folders import causal_folder

QUICK = (
    "builtin:quickstart",
    "builtin:quickstart",
    "--limit",
    "3",
    "--max-tokens",
    "12",
    "--temperature",
    "0,0.7",
)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--slots", "2", "--threads", "1"])


def test_confidences_are_added_to_an_evaluation_that_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(*QUICK, "--output", out).exit_code == 0
    kept = {name: (out / name).read_bytes() for name in ("samples.jsonl", "settings.json", "summary.json")}
    assert read_evaluation(out, "model").first_steps == ()
    again = evaluate(*QUICK, "--output", out, "--confidence")
    assert again.exit_code == 0, again.output
    assert {name: (out / name).read_bytes() for name in kept} == kept
    written = (out / "confidence.json").read_bytes()
    evaluation = read_evaluation(out, "model")
    assert [(one.cell, one.benchmark) for one in evaluation.first_steps] == [
        (cell.name, "quickstart") for cell in evaluation.settings.cells
    ]
    for one in evaluation.first_steps:
        assert len(one.steps) == FIRST_STEPS
        assert one.steps[0].masked == (3,) * 12
    # Before anything is written, temperature has changed nothing.
    assert len({one.steps[0] for one in evaluation.first_steps}) == 1
    for sample in evaluation.samples():
        assert sample.confidence is not None
        assert sample.confidence.mean <= 0 <= sample.confidence.variance
    assert_analyzed_as_evaluated(out)
    # All at once gives the same, to the last byte.
    assert evaluate(*QUICK, "--output", tmp_path / "at-once", "--confidence").exit_code == 0
    assert (tmp_path / "at-once" / "confidence.json").read_bytes() == written
    assert (tmp_path / "at-once" / "samples.jsonl").read_bytes() == kept["samples.jsonl"]


def assert_analyzed_as_evaluated(out: Path) -> None:
    """`couplet analyze` shows the scores, intervals and AR-ness that `couplet evaluate` does."""
    result = CliRunner().invoke(main, ["analyze", str(out), "--k", "1,4"])
    assert result.exit_code == 0, result.output
    with (out / "analysis" / "tables" / "quickstart-plain-settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = json.loads((out / "summary.json").read_text())["scores"]
    assert len(rows) == len(scores) == 2
    for row, score in zip(rows, scores, strict=True):
        assert float(row["pass@1"]) == score["pass_at"]["1"]
        assert [float(row[f"pass@1 {end}"]) for end in ("low", "high")] == score["intervals"]["1"]
        for name, value in score["ar_ness"].items():
            assert float(row[name]) == pytest.approx(value)


def test_a_causal_model_has_none(tmp_path: Path) -> None:
    causal_folder(
        tmp_path / "causal", hidden_size=128, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256,
    )  # fmt: skip
    tasks = tmp_path / "tasks.jsonl"
    test = {"call": "f()", "expected": "1"}
    tasks.write_text(json.dumps({"id": "a", "prompt": "def f():\n", "prefix": "def f():\n", "tests": [test]}))
    result = evaluate(tmp_path / "causal", tasks, "--engine", "transformers", "--max-tokens", 4, "--confidence")
    assert result.exit_code == 2
    assert "--confidence: a causal model sees no masked positions" in " ".join(result.output.split())
