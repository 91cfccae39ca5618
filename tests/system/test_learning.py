"""The quick start's claim: held-out pass rates rise by the rewards of the model's own programs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from orchestrator.commands.main import main


@pytest.mark.timeout(600)
def test_a_quarter_of_the_quick_start_raises_the_held_out_pass_rate(start_run):
    run = start_run(
        "run.steps=7", "run.keep_best=true", "evaluation.every_steps=0", "data.held_out_tasks=100", small=False
    )
    summary = run.finish(deadline=540.0)
    assert 0.3 < summary["pass_rate_before"] < 0.6, "the start is meant to be mediocre"
    assert summary["pass_rate_after"] > summary["pass_rate_before"] + 0.15
    # What its last checkpoint exports, and what it keeps as the best, are the model that it ended with.
    result = CliRunner().invoke(main, ["export", str(run.folder), str(run.folder / "exported")])
    assert result.exit_code == 0, result.output
    best = json.loads((run.folder / "best" / "best.json").read_text())
    assert best == {"step": 7, "value": summary["pass_rate_after"]}
    for name in ("exported", "best"):
        for file in (run.folder / "model").iterdir():
            assert (run.folder / name / file.name).read_bytes() == file.read_bytes(), (name, file.name)
