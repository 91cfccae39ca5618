"""The quick start's claim: held-out pass rates rise by the rewards of the model's own programs."""

from __future__ import annotations

import pytest


@pytest.mark.timeout(600)
def test_a_quarter_of_the_quick_start_raises_the_held_out_pass_rate(start_run):
    run = start_run("run.steps=7", "evaluation.every_steps=0", small=False)
    summary = run.finish(deadline=540.0)
    assert 0.3 < summary["pass_rate_before"] < 0.6, "the start is meant to be mediocre"
    assert summary["pass_rate_after"] > summary["pass_rate_before"] + 0.15
