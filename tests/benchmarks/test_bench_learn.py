from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.config import dump_config, load_config
from orchestrator.commands.main import main
from orchestrator.commands.recipes import shipped_recipe

GROUPS, SAMPLES, SECONDS = 16, 8, 9.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the quick start with an evaluation every 3 steps."""
    lines = [
        {"step": step, "seconds/step": SECONDS, "perf/samples_per_second": GROUPS * SAMPLES / SECONDS}
        for step in range(1, 10)
    ]
    rounds = [
        {"step": step, "pass_rate": rate, "tasks": 200, "programs": [], "by_family": {}}
        for step, rate in ((0, 0.435), (3, 0.7), (6, 0.905), (9, 0.92))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rounds))
    (tmp_path / "config.yaml").write_text(
        dump_config(load_config(shipped_recipe("quickstart"), ["run.seed=1", "run.name=other"]))
    )
    (tmp_path / "run.json").write_text('{"started": "2026-11-29T19:00:00+00:00"}')
    return tmp_path


def test_the_row_is_of_the_first_evaluation_at_the_target(run: Path) -> None:
    done = CliRunner().invoke(main, ["bench", "learn", "--of", str(run), "--json"])
    assert done.exit_code == 0, done.output
    header, rule, row, record = done.stdout.splitlines()
    assert len(header.split("|")) == len(rule.split("|")) == len(row.split("|"))
    assert row.startswith("| 2026-11-29 | – | run.seed=1 | ")
    assert "| 43.5% | 90.5% | 12 | 768 | 54 |" in row
    found = json.loads(record)
    assert (found["updates"], found["samples"], found["seconds"]) == (6 * 2, 6 * GROUPS * SAMPLES, 6 * SECONDS)


def test_a_target_that_was_not_reached_is_said(run: Path) -> None:
    done = CliRunner().invoke(main, ["bench", "learn", "--of", str(run), "--target", "0.95"])
    assert done.exit_code == 2
    assert "no evaluation reached 95%: the best is 92.0%" in done.stderr
