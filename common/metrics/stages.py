"""Metrics of the supervised stages: of an optimizer step, and of an evaluation on held-out documents."""

from __future__ import annotations

from common.metrics.metric import Metric
from common.metrics.step import TENTHS
from common.metrics.training import OPTIMIZATION

#: Parts of a segment by which the loss is told, from its beginning to its end.
EIGHTHS = 8
#: Keys of the loss of one tenth of the ratios, and of one part of a segment.
LOSS_AT_T = tuple(f"denoising/loss_at_t/{tenth}" for tenth in range(TENTHS))
LOSS_AT_POSITION = tuple(f"denoising/loss_at_position/{eighth}" for eighth in range(EIGHTHS))
#: What the key of a held-out loss at one ratio begins with; the ratio, such as ``0.15``, follows.
HELD_OUT_AT_T = "held_out/loss_at_t/"

DENOISING = (
    Metric("denoising/loss", "Loss: cross-entropy of masked tokens, weighed by 1/t (objective.normalization)"),
    Metric(
        "denoising/loss_at_t/{tenth}",
        "Mean cross-entropy of a masked token of segments whose ratio t lies in a tenth of 0 to 1",
        "nats",
        labels=("tenth",),
        name="denoising_loss_at_t",
    ),
    Metric(
        "denoising/loss_at_position/{eighth}",
        "Mean cross-entropy of a masked token in an eighth of its segment",
        "nats",
        labels=("eighth",),
        name="denoising_loss_at_position",
    ),
    Metric("denoising/masked_share", "Share of the tokens that may be masked that were"),
    Metric("denoising/visible_share", "Share of the later positions that attention sees", when="stage: adapt"),
)
DATA_READ = (
    Metric("data/tokens", "Tokens read so far"),
    Metric("data/epochs", "Passes over the data so far"),
    Metric("data/targets", "Masked tokens that the step learned from"),
)
SPEED = (
    Metric("perf/tokens_per_second", "Tokens trained on per second"),
    Metric("perf/mfu", "Model FLOP utilization", when="the device's peak is known (learner.peak_tflops)"),
    Metric(
        "seconds/forward_backward",
        "Part of the update: forward and backward passes of a stage",
        "seconds",
        name="step_forward_backward",
    ),
)
HELD_OUT = (
    Metric("held_out/loss", "Mean over the ratios of the held-out loss", "nats"),
    Metric(
        "held_out/loss_at_t/{ratio}",
        "Cross-entropy of a masked token of held-out documents at one ratio, always with the same masks",
        "nats",
        labels=("ratio",),
        name="held_out_loss_at_t",
    ),
)

#: What only the stages have, and all that a step of theirs reports.
STAGE_ONLY = DENOISING + DATA_READ + SPEED + HELD_OUT
STAGE_METRICS = STAGE_ONLY + OPTIMIZATION
