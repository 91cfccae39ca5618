from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evaluation.variance import Figure
from orchestrator.commands.main import main
from orchestrator.commands.variance import show_figure


def variance(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["analyze", "variance", *arguments])


def test_it_tabulates_estimators_on_the_tiny_model() -> None:
    result = variance("--json")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in ("full_mask", "coupled, 2 pairs", "decoupled, 1 pair", "elbo, 1 pair", "elbo, 5 nodes"):
        assert sum(line.startswith(f"{name} ") for line in lines) == 2
    record = json.loads(last)
    assert (record["analyze"], record["model"], record["seed"]) == ("variance", "tiny", 0)
    rows = {(row["name"], row["pairs"]): row for row in record["rows"]}
    assert rows["decoupled", 1]["token"]["relative"]["value"] > 1
    assert rows["decoupled", 1]["token"]["relative"]["error"] == 0
    assert rows["elbo_quadrature", 2]["setting"] == "5 nodes"
    assert record["pair_covariance"]["sequence"]["value"] < 0
    assert f"{rows['coupled', 1]['sequence']['variance']['value']:.4f}" in result.stdout


def test_it_samples_a_real_model_and_repeats_itself() -> None:
    arguments = ("--model", "builtin:quickstart", "--tasks", "1", "--draws", "5", "--seed", "4", "--json")
    result = variance(*arguments)
    assert result.exit_code == 0, result.output
    assert "±" in result.stdout
    assert "100%" in result.stderr
    last = result.stdout.splitlines()[-1]
    record = json.loads(last)
    assert (record["model"], record["tasks"], record["draws"]) == ("builtin:quickstart", 1, 5)
    full, coupled = record["rows"][:2]
    assert full["token"]["variance"] == {"value": 0.0, "error": 0.0}
    assert coupled["token"]["variance"]["error"] > 0
    assert variance(*arguments).stdout.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--draws", "8"], "go with --model"),
        (["--model", "builtin:other"], "known built-in models"),
        (["--model", "builtin:quickstart", "--draws", "1"], "x>=2"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str) -> None:
    result = variance(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    result = variance("--model", str(tmp_path))
    assert result.exit_code == 2
    assert "config.json" in result.output


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(-1e-9, 0.0, "0.0000"), (1.23456, 0.0123, "1.235±0.012"), (7.731, 3.12, "7.7±3.1"), (123.4, 25.0, "123±25")],
)
def test_figures_show_two_digits_of_their_error(value: float, error: float, text: str) -> None:
    assert show_figure(Figure(value, error)) == text
