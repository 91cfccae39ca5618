"""Advantages of each reward by itself, beside a plain loop over the steps of the released code (NVlabs/GDPO)."""

from __future__ import annotations

import random
from statistics import mean, stdev

import pytest

from common.config import LearnerConfig
from common.records import Score, TrajectoryGroup
from learner.collector import Collector
from learner.progress import Progress
from learner.reward_advantages import carries_signal, normalized_over_step, score_advantages
from learner.samples import training_samples
from tests.learner.learner_tools import make_group

WEIGHTS = {"tests": 2.0, "format": 0.5, "speed": -0.125, "shown_only": 0.0}


def scored(index: int, rows: list[dict[str, float] | None]) -> TrajectoryGroup:
    """A group with these components; None is excluded, and has what was known of it."""
    scores = tuple(
        Score(reward=0.0, components={"tests": 9.0}, weights=WEIGHTS, verdicts=(), excluded=True)
        if row is None
        else Score(
            reward=sum(WEIGHTS[name] * value for name, value in row.items()),
            components=row,
            weights=WEIGHTS,
            verdicts=(),
        )
        for row in rows
    )
    group = make_group(index, [0.0] * len(rows))
    return group.model_copy(update={"scores": scores})


def random_rows(seed: int, count: int) -> list[dict[str, float] | None]:
    draw = random.Random(seed)
    return [
        None if draw.random() < 0.2 else {name: draw.choice([0.0, 0.25, 1.0]) for name in WEIGHTS}
        for _ in range(count)
    ]


def naive(groups: list[list[dict[str, float] | None]]) -> list[float]:
    """What each sample that counts is given, in order."""
    summed = []
    for rows in groups:
        valid = [row for row in rows if row is not None]
        for row in valid:
            total = 0.0
            for name, weight in WEIGHTS.items():
                of_group = [other[name] for other in valid]
                total += weight * (row[name] - mean(of_group)) / (stdev(of_group) + 1e-4)
            summed.append(total)
    return [(one - mean(summed)) / (stdev(summed) + 1e-4) for one in summed]


FLAT: list[dict[str, float] | None] = [dict.fromkeys(WEIGHTS, 0.5)] * 4


def test_each_reward_is_normalized_in_its_group_and_their_sum_over_the_step() -> None:
    rows = [random_rows(0, 8), FLAT, random_rows(1, 8), random_rows(2, 5)]
    config = LearnerConfig.model_validate({"advantage": "per_reward", "zero_variance_groups": "score"})
    samples = training_samples([scored(index, of_group) for index, of_group in enumerate(rows)], config)
    assert [sample.advantage for sample in samples] == pytest.approx(naive(rows), abs=1e-6)
    kept = training_samples(
        [scored(index, of_group) for index, of_group in enumerate(rows)],
        config.model_copy(update={"zero_variance_groups": "skip"}),
    )
    assert [sample.advantage for sample in kept] == pytest.approx(naive([rows[0], *rows[2:]]), abs=1e-6)


def test_rewards_of_one_sum_carry_a_signal_only_by_themselves() -> None:
    group = scored(0, [{"tests": 0.5, "format": 0.0}, {"tests": 0.25, "format": 1.0}])
    assert len({score.reward for score in group.scores}) == 1
    for mode, found in (("mean", []), ("per_reward", [(0, 0), (0, 1)])):
        config = LearnerConfig.model_validate({"advantage": mode, "zero_variance_groups": "skip"})
        samples = training_samples([group], config)
        assert [(sample.group, sample.sample) for sample in samples] == found
        progress = Progress()
        collector = Collector(1, 0, "drop", "replace", progress, config.advantage)
        collector.offer(group)
        assert (collector.take() is not None, progress.filtered) == (bool(found), int(not found))


def test_what_does_not_count_is_no_signal() -> None:
    only_shown = scored(0, [{**dict.fromkeys(WEIGHTS, 0.0), "shown_only": float(i)} for i in range(3)]).scores
    alone = scored(0, [None, dict.fromkeys(WEIGHTS, 1.0), None]).scores
    for scores in (only_shown, alone):
        assert not carries_signal(scores, "per_reward")
        assert score_advantages(scores, "per_reward") == [0.0] * 3
    assert normalized_over_step([3.0]) == [0.0]
    assert normalized_over_step([]) == []
    assert normalized_over_step([2.0] * 4) == [0.0] * 4
