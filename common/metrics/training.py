"""Metrics of an optimizer step, whatever the model learns from."""

from __future__ import annotations

from common.metrics.metric import Metric

OPTIMIZATION = (
    Metric("optim/grad_norm", "Gradient norm before clipping"),
    Metric("optim/learning_rate", "Learning rate"),
    Metric(
        "seconds/optimizer",
        "Part of the update: optimizer steps, and syncs of the reference",
        "seconds",
        name="step_optimizer",
    ),
    Metric("seconds/checkpoint", "Learner writing a checkpoint", "seconds", name="step_checkpoint"),
    Metric("seconds/step", "Whole learner step", "seconds", name="step"),
    Metric("restarts", "Restarts of workers and learner so far"),
)
