from __future__ import annotations

import math

import pytest

from common.config import LearnerConfig
from common.metrics.registry import find
from common.records import Completion, Mismatch, TrajectoryGroup
from learner.approximation import approximation_weight
from learner.metrics import batch_metrics
from learner.samples import training_samples
from tests.learner.learner_tools import make_group


def completion(tokens: int, log_ratio: float) -> Completion:
    return Completion(
        completion_ids=(5, 3, 0, 0),
        end=1,
        step_map=(0, 1, -1, -1),
        logprobs=(-1.0, -1.0, 0.0, 0.0),
        model_logprobs=(-1.0, -1.0, 0.0, 0.0),
        overwritten=((3, 7, 0),),
        forwards=2,
        versions=(0, 0),
        mismatch=Mismatch(tokens=tokens, log_ratio=log_ratio, kl=0.1),
    )


@pytest.mark.parametrize(
    ("done", "cap", "weight"),
    [
        (completion(3, -0.3), 2.0, math.exp(-0.3)),
        (completion(1, -0.3), 2.0, math.exp(-0.9)),  # one of three committed tokens was measured
        (completion(2, 0.4), 2.0, math.exp(0.6)),
        (completion(2, 5000.0), 2.0, 2.0),  # more than a float holds
        (completion(0, 0.0), 0.5, 1.0),
        (completion(3, -0.3), None, 1.0),
    ],
)
def test_the_weight_is_the_ratio_of_all_that_was_committed_up_to_the_cap(
    done: Completion, cap: float | None, weight: float
) -> None:
    assert approximation_weight(done, cap) == pytest.approx(weight)


def measured_group(*found: Mismatch) -> TrajectoryGroup:
    group = make_group(len(found))
    assert group.rollouts is not None
    rollouts = [
        rollout.model_copy(update={"mismatch": one})
        for rollout, one in zip(group.rollouts.rollouts, found, strict=True)
    ]
    return group.model_copy(update={"rollouts": group.rollouts.model_copy(update={"rollouts": tuple(rollouts)})})


def test_advantages_are_weighed_only_where_it_is_asked_for() -> None:
    group = measured_group(Mismatch(tokens=1, log_ratio=50.0), Mismatch())
    plain = [sample.advantage for sample in training_samples([group], LearnerConfig())]
    assert any(plain)
    weighed = [sample.advantage for sample in training_samples([group], LearnerConfig(approximation_cap=3.0))]
    assert weighed == pytest.approx([3 * plain[0], plain[1]])


def test_what_was_measured_is_averaged_over_tokens_and_declared() -> None:
    found = batch_metrics([measured_group(Mismatch(tokens=3, log_ratio=-0.6, kl=0.3), Mismatch(tokens=1))], 0)
    expected = {"approximation/log_ratio": -0.15, "approximation/kl": 0.075, "approximation/tokens": 4.0}
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    for key in expected:
        find(key)
    exact = batch_metrics([measured_group(Mismatch(), Mismatch())], 0)
    assert not any(key.startswith("approximation/") for key in exact)
