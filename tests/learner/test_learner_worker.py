from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from common.config import LearnerConfig
from common.metrics.registry import find
from common.records import TrajectoryGroup
from learner.advantages import group_advantages
from learner.learner_loop import LearnerLoop, Training
from learner.progress import Progress
from learner.samples import TrainingSample, training_samples
from tests.learner.learner_tools import LENGTH, lost_group, make_group

CONFIG = LearnerConfig(inner_iterations=2, advantage="loo", zero_variance_groups="skip")


@dataclass
class Rig:
    """Fakes for the engine and the source; every call is written down in order."""

    batches: list[Sequence[TrajectoryGroup]]
    events: list[str] = field(default_factory=list)
    trained: list[tuple[list[TrainingSample], int]] = field(default_factory=list)
    saved: list[Progress] = field(default_factory=list)
    measured: list[tuple[int, int]] = field(default_factory=list)

    spare = 3

    def next_groups(self) -> Sequence[TrajectoryGroup]:
        self.events.append("groups")
        return self.batches.pop(0)

    def checkpointed(self) -> None:
        self.events.append("acknowledge")

    def train(self, samples: Sequence[TrainingSample], updates: int) -> Training:
        self.events.append("train")
        self.trained.append((list(samples), updates))
        return Training(2, {"policy/loss": 0.5})

    def measure(self, groups: Sequence[TrajectoryGroup], version: int) -> dict[str, float]:
        self.measured.append((version, len(self.trained)))
        return {"mismatch/mean": 0.25}

    def share(self, groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup]:
        self.events.append("share")
        return groups if groups is not None else self.batches.pop(0)

    def save(self, progress: Progress) -> None:
        self.events.append("save")
        self.saved.append(replace(progress))

    def loop(self, progress: Progress, leader: bool = True) -> LearnerLoop:
        return LearnerLoop(CONFIG, progress, self, self if leader else None, self.share, self.measure, self.save)


def test_a_step_first_checkpoints_and_acknowledges_those_before_it() -> None:
    rig = Rig([[make_group(0), make_group(1)], [make_group(2)]])
    progress = Progress(version=3, updates=6)
    loop = rig.loop(progress)
    report = loop.step(checkpoint=False)
    assert rig.events == ["groups", "share", "train"]
    assert rig.trained[0][1] == 6
    assert (progress.version, progress.updates) == (4, 8)
    done = replace(progress)
    loop.step(checkpoint=True)
    assert rig.events[3:] == ["save", "acknowledge", "groups", "share", "train"]
    assert rig.saved == [done]
    assert (report.version, report.samples, report.metrics["policy/loss"]) == (4, 4, 0.5)
    assert report.metrics["perf/spare_groups"] == 3
    for key in report.metrics:
        find(key)


def test_groups_that_were_collected_are_those_of_the_next_step_alone() -> None:
    rig = Rig([[make_group(0), make_group(1)], [make_group(2)]])
    loop = rig.loop(Progress(version=3))
    assert loop.collect()
    assert rig.events == ["groups"]
    report = loop.step(checkpoint=False)
    assert rig.events == ["groups", "share", "train"]
    assert report is not None
    assert report.groups == [make_group(0), make_group(1)]
    assert loop.step(checkpoint=False) is not None
    assert rig.events[3:] == ["groups", "share", "train"]


def test_groups_are_measured_before_the_weights_change() -> None:
    rig = Rig([[make_group(0)], [make_group(1)]])
    loop = rig.loop(Progress(version=3), leader=False)
    reports = [loop.step(checkpoint=False) for _ in range(2)]
    assert rig.measured == [(3, 0), (4, 1)]
    assert [report.metrics["mismatch/mean"] for report in reports if report] == [0.25, 0.25]


def test_without_a_checkpoint_nothing_is_acknowledged() -> None:
    rig = Rig([[make_group(0)], [make_group(1)]])
    loop = rig.loop(Progress())
    loop.step(checkpoint=False)
    loop.step(checkpoint=False)
    assert rig.events == ["groups", "share", "train"] * 2
    assert [updates for _, updates in rig.trained] == [0, 2]


def test_what_the_last_checkpoint_holds_is_not_written_again() -> None:
    rig = Rig([[make_group(0)]])
    loop = rig.loop(Progress(version=3))
    loop.checkpoint()
    assert rig.events == []
    loop.step(checkpoint=True)
    loop.checkpoint()
    loop.checkpoint()
    assert rig.events == ["groups", "share", "train", "save", "acknowledge"]
    assert [progress.version for progress in rig.saved] == [4]


def test_a_failed_checkpoint_acknowledges_nothing() -> None:
    rig = Rig([[make_group(0)]])

    def fail(progress: Progress) -> None:
        raise OSError("disk full")

    loop = LearnerLoop(CONFIG, Progress(), rig, rig, rig.share, rig.measure, fail)
    loop.step(checkpoint=False)
    for _ in range(2):
        with pytest.raises(OSError, match="disk full"):
            loop.checkpoint()
    assert "acknowledge" not in rig.events


def test_other_ranks_train_on_what_is_shared_and_touch_no_stream() -> None:
    rig = Rig([[make_group(0)]])
    loop = rig.loop(Progress(), leader=False)
    report = loop.step(checkpoint=False)
    loop.checkpoint()
    assert rig.events == ["share", "train", "save"]
    assert report.version == 1


def test_a_step_without_any_signal_counts_as_a_version_but_not_as_an_update() -> None:
    rig = Rig([[make_group(0, (1.0, 1.0)), make_group(1, (0.0, 1.0), excluded=[True, False])]])
    progress = Progress()
    report = rig.loop(progress).step(checkpoint=False)
    assert "train" not in rig.events
    assert (progress.version, progress.updates) == (1, 0)
    assert report.metrics["groups/zero_variance"] == 1.0


def test_flat_groups_are_scored_where_that_is_asked_for() -> None:
    flat = make_group(4, (2.0, 2.0, 9.0), excluded=[False, False, True])
    alone = make_group(5, (0.0, 1.0), excluded=[True, False])
    config = CONFIG.model_copy(update={"zero_variance_groups": "score"})
    samples = training_samples([lost_group(3), flat, alone], config)
    assert [(s.group, s.sample, s.advantage) for s in samples] == [(4, 0, 0.0), (4, 1, 0.0), (5, 1, 0.0)]


def test_all_positions_are_those_after_the_end_too() -> None:
    group = make_group(7, ends=[2, LENGTH])
    config = CONFIG.model_copy(update={"positions": "all"})
    assert [s.valid_tokens for s in training_samples([group], config)] == [LENGTH, LENGTH]


def test_samples_carry_what_was_rolled_out_and_their_advantage() -> None:
    rewards, excluded = (0.0, 1.0, 9.0, 0.5), [False, False, True, False]
    group = make_group(7, rewards, excluded=excluded, ends=[2, LENGTH, 1, LENGTH - 1])
    assert group.rollouts is not None
    samples = training_samples([lost_group(3), make_group(4, (2.0, 2.0)), group], CONFIG)
    advantages = group_advantages(rewards, [not out for out in excluded], "loo")
    assert [(s.group, s.sample, s.valid_tokens) for s in samples] == [(7, 0, 3), (7, 1, LENGTH), (7, 3, LENGTH)]
    assert [s.advantage for s in samples] == [advantages[0], advantages[1], advantages[3]]
    assert sum(s.advantage for s in samples) == pytest.approx(0.0)
    for sample in samples:
        assert sample.prompt_ids == group.rollouts.prompt_ids
        assert sample.completion_ids == group.rollouts.rollouts[sample.sample].completion_ids
