"""Whole runs of other algorithms than the quick start's, from rollouts to weights."""

from __future__ import annotations

import pytest


def test_stale_rollouts_are_weighed_and_adapters_are_published_whole(start_run):
    run = start_run(
        "run.steps=4",
        "admission.max_staleness=1",
        "admission.max_in_flight=12",
        "learner.off_policy_cap=2.0",
        "learner.lora={rank: 4}",
        "learner.gradient_checkpointing=true",
        "learner.optimizer.learning_rate=0.003",
    )
    run.finish()
    metrics = run.metrics()
    # Fresh rollouts weigh exactly what they are; stale ones differ a little, and less than the cap.
    for line in metrics:
        if line["staleness/max"] == 0:
            assert line["policy/importance_mean"] == pytest.approx(1.0, abs=1e-4)
        assert 0.5 < line["policy/importance_mean"] < 2.0
    stale = [line["policy/importance_mean"] for line in metrics if line["staleness/max"] > 0]
    assert any(abs(weight - 1.0) > 1e-6 for weight in stale)


def test_a_preset_trains_from_the_recorded_steps(start_run):
    run = start_run("run.steps=2", "learner.preset=tracerl", "learner.estimator.merged_steps=2")
    run.finish()
    for line in run.metrics():
        assert line["policy/ratio_mean"] == 1.0  # one inner iteration: the old policy is the new one
        assert line["optim/grad_norm"] > 0
