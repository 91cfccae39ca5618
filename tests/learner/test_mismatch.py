"""What the mismatch meter looks at; tests/learner/test_engine.py has it score with real ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from common.likelihood.views import Views
from common.metrics.registry import find
from common.records import TrajectoryGroup
from learner.mismatch import MOST_STEPS, MismatchMeter, comparable, mismatch
from learner.partition import Piece
from tests.learner.learner_tools import LENGTH, lost_group, make_group

VERSION = 20


@dataclass
class Learner:
    """Finds every token ``gap`` nats likelier than all workers of ``make_group`` did, and keeps what it scored."""

    gap: float = 0.0
    scored: list[tuple[Piece, Views]] = field(default_factory=list)

    def score(self, piece: Piece, views: Views) -> npt.NDArray[np.float64]:
        self.scored.append((piece, views))
        sample = piece.sample
        recorded = -0.25 * (1 + sample.group + sample.sample + np.arange(len(sample.completion_ids)))
        return np.where(views.measured(sample)[list(piece.views)].any(0), recorded + self.gap, 0.0)


def test_the_figures_are_those_of_a_loop() -> None:
    recorded, scored = [-1.0, -0.5, -7.0, -2.0], [-1.1, -0.5, -6.6, -2.05]
    differences = [b - a for a, b in zip(recorded, scored, strict=True)]
    weights = [math.exp(difference) for difference in differences]
    found = mismatch(np.array(recorded), np.array(scored))
    assert found == pytest.approx(
        {
            "mismatch/mean": (0.1 + 0.0 + 0.4 + 0.05) / 4,
            "mismatch/max": 0.4,
            "mismatch/kl": (0.1 + 0.0 - 0.4 + 0.05) / 4,
            "mismatch/effective_share": sum(weights) ** 2 / (4 * sum(weight**2 for weight in weights)),
        }
    )
    for key in found:
        find(key)


def test_weights_that_no_float_holds_have_an_effective_share() -> None:
    found = mismatch(np.array([-3000.0, -3000.0, -1.0]), np.array([-1.0, -1.0, -3000.0]))
    assert found["mismatch/effective_share"] == pytest.approx(2 / 3)


def of_versions(group: TrajectoryGroup, *versions: tuple[int, int]) -> TrajectoryGroup:
    assert group.rollouts is not None
    rollouts = [
        rollout.model_copy(update={"versions": pair})
        for rollout, pair in zip(group.rollouts.rollouts, versions, strict=True)
    ]
    return group.model_copy(update={"rollouts": group.rollouts.model_copy(update={"rollouts": tuple(rollouts)})})


def with_sampler(group: TrajectoryGroup, **changes: object) -> TrajectoryGroup:
    sampler = group.prompt.sampler.model_copy(update=changes)
    return group.model_copy(update={"prompt": group.prompt.model_copy(update={"sampler": sampler})})


def test_only_what_the_present_weights_alone_have_denoised_exactly_is_compared() -> None:
    fresh, now = make_group(3, (0.0, 1.0)), (VERSION, VERSION)
    groups = [
        lost_group(0),
        of_versions(make_group(1), (VERSION - 1, VERSION - 1), (VERSION - 1, VERSION)),
        with_sampler(of_versions(make_group(2), now, now), approximate_cache="prefix", block_length=3),
        of_versions(fresh, (VERSION - 1, VERSION), now),
        with_sampler(of_versions(make_group(4), now, now), decoder="threshold"),
    ]
    found = comparable(groups, VERSION)
    assert [(one.sample.group, one.sample.sample) for one in found] == [(3, 1), (4, 0), (4, 1)]
    assert fresh.rollouts is not None
    assert found[0].recorded == fresh.rollouts.rollouts[1].model_logprobs
    learner = Learner()
    assert MismatchMeter(1, 0, learner.score).measure(groups[:3], VERSION) == {}
    assert learner.scored == []


@pytest.mark.parametrize(("interval", "versions"), [(0, []), (1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6])])
def test_it_measures_at_the_first_step_and_every_interval_after(interval: int, versions: list[int]) -> None:
    meter = MismatchMeter(interval, 0, Learner(gap=0.5).score)
    groups = [of_versions(make_group(v), (v, v), (v, v)) for v in range(7)]
    measured = {v: found for v in range(7) if (found := meter.measure(groups, v))}
    assert list(measured) == versions
    for found in measured.values():
        assert (found["mismatch/mean"], found["mismatch/kl"]) == pytest.approx((0.5, -0.5))


def long_group(length: int) -> TrajectoryGroup:
    """One rollout of ``length`` tokens, two to a step."""
    group = make_group(0, (0.0,), version=VERSION)
    assert group.rollouts is not None
    (rollout,) = group.rollouts.rollouts
    repeated = {
        "completion_ids": tuple(2 + k % 7 for k in range(length)),
        "end": length,
        "step_map": tuple(k // 2 for k in range(length)),
        "model_logprobs": tuple(-0.25 * (1 + k) for k in range(length)),
    }
    rollouts = (rollout.model_copy(update=repeated),)
    return group.model_copy(update={"rollouts": group.rollouts.model_copy(update={"rollouts": rollouts})})


def test_of_a_long_rollout_a_few_steps_are_scored_drawn_by_seed_and_version() -> None:
    learner = Learner(gap=0.25)
    for seed in (0, 0, 1):
        found = MismatchMeter(1, seed, learner.score).measure([long_group(90)], VERSION)
        # The figure is of the measured tokens alone: the others differ by more.
        assert found["mismatch/max"] == pytest.approx(0.25)
    steps = [piece.views for piece, _ in learner.scored]
    assert steps[0] == steps[1] != steps[2]
    for chosen in steps:
        assert len(set(chosen)) == MOST_STEPS
        assert list(chosen) == sorted(chosen)


def test_of_a_short_one_all_are() -> None:
    learner = Learner()
    group = of_versions(make_group(5, (0.0,)), (VERSION, VERSION))
    MismatchMeter(1, 0, learner.score).measure([group], VERSION)
    ((piece, views),) = learner.scored
    assert piece.views == tuple(range(len(views.masks)))
    assert views.measured(piece.sample).sum(0).tolist() == [1] * LENGTH
