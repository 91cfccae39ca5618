from __future__ import annotations

import math

import pytest
from learner_tools import LENGTH, lost_group, make_group

from common.records import Score, TrajectoryGroup, Verdict
from common.telemetry import STEP_METRICS
from learner.metrics import batch_metrics

GROUPS = [
    make_group(0, (0.0, 1.0, 1.0), version=4, masked=[False, False, True], ends=[2, LENGTH, 1], seconds=1.0),
    make_group(1, (1.0, 1.0), version=3, ends=[3, LENGTH], seconds=2.0),
    make_group(2, (0.25, 0.5, 0.0), version=1, ends=[0, 4, 5], seconds=3.0),
]


def kept_scores(groups: list[TrajectoryGroup]) -> list[Score]:
    found = []
    for group in groups:
        for score in group.scores:
            if not score.masked:
                found.append(score)
    return found


def test_rewards_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    rewards, solved, passed, verdicts = [], 0, 0, 0
    for score in kept_scores(GROUPS):
        rewards.append(score.reward)
        solved += all(verdict == Verdict.PASSED for verdict in score.verdicts)
        for verdict in score.verdicts:
            verdicts += 1
            passed += verdict == Verdict.PASSED
    assert len(rewards) == 7
    mean = sum(rewards) / 7
    assert metrics["reward/mean"] == pytest.approx(mean)
    assert metrics["reward/std"] == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in rewards) / 7))
    assert metrics["reward/tests"] == pytest.approx(mean)
    assert metrics["reward/format"] == 1.0
    assert metrics["reward/solved"] == pytest.approx(solved / 7)
    assert metrics["reward/pass_rate"] == pytest.approx(passed / verdicts)
    assert metrics["reward/masked"] == 1


def test_groups_staleness_and_lengths_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    assert metrics["groups/trained"] == 3
    assert metrics["groups/zero_variance"] == pytest.approx(1 / 3)
    assert metrics["staleness/mean"] == pytest.approx((0 + 1 + 3) / 3)
    assert metrics["staleness/max"] == 3
    assert metrics["response/length_mean"] == pytest.approx((2 + 6 + 1 + 3 + 6 + 0 + 4 + 5) / 8)
    assert metrics["response/truncated"] == pytest.approx(2 / 8)
    assert metrics["seconds/rollout"] == pytest.approx(12.0)
    assert metrics["seconds/reward"] == pytest.approx(6.0)


def test_ar_ness_against_a_loop() -> None:
    local, overall, samples = 0.0, 0.0, 0
    for group in GROUPS:
        assert group.rollouts is not None
        for rollout in group.rollouts.rollouts:
            steps = rollout.step_map[: rollout.end + 1]
            order = [k for step in range(LENGTH) for k in range(len(steps)) if steps[k] == step]
            hits = [order[i] == order[i - 1] + 1 for i in range(1, len(order))]
            local += sum(hits) / len(hits) if hits else 1.0
            leftmost = [order[i] == min(order[i:]) for i in range(len(order))]
            overall += sum(leftmost) / len(leftmost)
            samples += 1
    metrics = batch_metrics(GROUPS, version=4)
    assert metrics["diffusion/ar_ness_local"] == pytest.approx(local / samples)
    assert metrics["diffusion/ar_ness_global"] == pytest.approx(overall / samples)
    assert 0 < metrics["diffusion/ar_ness_local"] < 1


@pytest.mark.parametrize(
    "groups",
    [[], [lost_group(0)], [make_group(0, masked=[True, True])], GROUPS],
    ids=["none", "lost", "masked", "some"],
)
def test_every_metric_is_finite_and_declared(groups: list[TrajectoryGroup]) -> None:
    metrics = batch_metrics(groups, version=2) if groups else {}
    declared = {metric.key for metric in STEP_METRICS}
    assert set(metrics) <= declared
    assert all(math.isfinite(value) for value in metrics.values())
