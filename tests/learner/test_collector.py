"""Which groups make a step: decided by admission order alone, whatever the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import astuple
from typing import Literal

import pytest

from common.records import TrajectoryGroup
from learner.collector import Collector, Outcome, Progress
from tests.learner.learner_tools import lost_group, make_group


def make_collector(
    groups_per_step: int = 2,
    max_staleness: int = 0,
    stale: Literal["drop", "wait"] = "drop",
    zero_variance: Literal["skip", "replace"] = "skip",
    progress: Progress | None = None,
) -> Collector:
    return Collector(groups_per_step, max_staleness, stale, zero_variance, progress or Progress())


def indices(batch: Sequence[TrajectoryGroup] | None) -> list[int] | None:
    return None if batch is None else [group.prompt.index for group in batch]


def counts(progress: Progress) -> tuple[int, int, int, int]:
    return progress.next_index, progress.trained, progress.filtered, progress.dropped


def test_a_step_is_taken_once_its_groups_are_there_and_in_order() -> None:
    collector = make_collector()
    assert collector.take() is None
    assert collector.offer(make_group(1))
    assert collector.take() is None
    assert collector.offer(make_group(0))
    assert indices(collector.take()) == [0, 1]
    assert collector.take() is None
    assert counts(collector.progress) == (2, 2, 0, 0)


def test_a_gap_holds_back_what_comes_after_it() -> None:
    collector = make_collector()
    for index in (1, 2, 3):
        collector.offer(make_group(index))
    assert collector.take() is None
    assert counts(collector.progress) == (0, 0, 0, 0)
    collector.offer(make_group(0))
    assert indices(collector.take()) == [0, 1]
    assert indices(collector.take()) == [2, 3]


def test_duplicates_are_refused_while_waiting_taken_or_trained() -> None:
    collector = make_collector()
    assert collector.offer(make_group(0))
    assert not collector.offer(make_group(0, (1.0, 0.0)))
    assert collector.take() is None  # group 0 is taken, its step is not complete
    assert not collector.offer(make_group(0))
    collector.offer(make_group(1))
    collector.take()
    assert not collector.offer(make_group(1))


def test_a_resumed_collector_refuses_what_its_checkpoint_consumed() -> None:
    collector = make_collector(progress=Progress(version=3, next_index=6, trained=6))
    assert not collector.offer(make_group(5))
    assert collector.offer(make_group(6))


FLAT = (1.0, 1.0)
# staleness policy, zero-variance policy, the learner's version, the group -> what becomes of it
JUDGEMENTS: list[tuple[str, str, int, TrajectoryGroup, Outcome]] = [
    ("drop", "skip", 5, make_group(0, version=5), Outcome.TRAINED),
    ("drop", "skip", 5, make_group(0, version=3), Outcome.TRAINED),
    ("drop", "skip", 5, make_group(0, version=2), Outcome.DROPPED),
    ("wait", "skip", 5, make_group(0, version=2), Outcome.TRAINED),
    ("drop", "skip", 5, lost_group(0), Outcome.DROPPED),
    ("wait", "replace", 5, lost_group(0), Outcome.DROPPED),
    ("drop", "skip", 5, make_group(0, FLAT, version=5), Outcome.TRAINED),
    ("drop", "replace", 5, make_group(0, FLAT, version=5), Outcome.FILTERED),
    ("drop", "replace", 5, make_group(0, FLAT, version=2), Outcome.DROPPED),
    ("drop", "replace", 5, make_group(0, (0.0, 1.0), version=5, excluded=[True, False]), Outcome.FILTERED),
    (
        "drop",
        "replace",
        5,
        make_group(0, (0.0, 1.0, 0.0), version=5, excluded=[False, False, True]),
        Outcome.TRAINED,
    ),
]


@pytest.mark.parametrize(("stale", "zero_variance", "version", "group", "outcome"), JUDGEMENTS)
def test_what_becomes_of_a_group(
    stale: Literal["drop", "wait"],
    zero_variance: Literal["skip", "replace"],
    version: int,
    group: TrajectoryGroup,
    outcome: Outcome,
) -> None:
    collector = make_collector(1, 2, stale, zero_variance, Progress(version=version))
    collector.offer(group)
    batch = collector.take()
    assert (batch is not None) == (outcome is Outcome.TRAINED)
    assert getattr(collector.progress, outcome) == 1
    assert sum(counts(collector.progress)[1:]) == collector.progress.next_index == 1


def mixed_groups(count: int) -> list[TrajectoryGroup]:
    """Good, lost, flat and excluded groups, in a pattern without a short period."""
    groups = []
    for index in range(count):
        if index % 7 == 3:
            groups.append(lost_group(index))
        elif index % 5 == 2:
            groups.append(make_group(index, FLAT, version=index // 4))
        else:
            groups.append(make_group(index, version=index // 4, excluded=[False, index % 11 == 0]))
    return groups


def drive(groups: Sequence[TrajectoryGroup], arrivals: Sequence[int], collector: Collector) -> list[list[int]]:
    """Offer the groups in order of arrival, take every step that becomes complete, and count it as trained."""
    batches, before = [], collector.progress.trained
    for index in arrivals:
        collector.offer(groups[index])
        while (batch := collector.take()) is not None:
            batches.append([group.prompt.index for group in batch])
            collector.progress.version += 1
        taken = collector.progress
        assert taken.next_index == taken.trained + taken.filtered + taken.dropped
        assert 0 <= taken.trained - before - len(batches) * collector.groups_per_step < collector.groups_per_step
    return batches


@pytest.mark.parametrize("stale", ["drop", "wait"])
@pytest.mark.parametrize("zero_variance", ["skip", "replace"])
def test_batches_do_not_depend_on_the_order_of_arrival(
    stale: Literal["drop", "wait"], zero_variance: Literal["skip", "replace"]
) -> None:
    groups = mixed_groups(60)
    expected_progress = Progress()
    in_order = drive(groups, range(60), make_collector(3, 1, stale, zero_variance, expected_progress))
    assert len(in_order) > 5
    shuffle = random.Random(20)
    for _ in range(25):
        arrivals = [*range(60), *shuffle.choices(range(60), k=20)]
        shuffle.shuffle(arrivals)
        progress = Progress()
        assert drive(groups, arrivals, make_collector(3, 1, stale, zero_variance, progress)) == in_order
        assert progress == expected_progress


def test_a_replay_from_any_checkpoint_builds_the_same_batches() -> None:
    groups = mixed_groups(40)
    collector = make_collector(3, 1, "drop", "replace")
    whole, checkpoints = [], []
    for group in groups:
        collector.offer(group)
    while (batch := collector.take()) is not None:
        whole.append(indices(batch))
        collector.progress.version += 1
        checkpoints.append(Progress(*astuple(collector.progress)))
    for done, checkpoint in enumerate(checkpoints, start=1):
        again = make_collector(3, 1, "drop", "replace", checkpoint)
        assert drive(groups, range(40), again) == whole[done:]


@pytest.mark.parametrize(
    ("arrived", "dropped_for_good"),
    [
        ([], 0),
        ([make_group(2)], 0),
        ([lost_group(2), make_group(3)], 1),
        ([make_group(2), lost_group(3)], 0),
        ([make_group(3)], 0),
    ],
    ids=["none", "one", "lost one, one", "one, lost one", "out of order"],
)
def test_what_was_taken_for_an_unfinished_step_can_be_put_back(
    arrived: list[TrajectoryGroup], dropped_for_good: int
) -> None:
    collector = make_collector()
    for group in (make_group(0), make_group(1), *arrived):
        collector.offer(group)
    assert indices(collector.take()) == [0, 1]
    assert collector.take() is None
    collector.put_back()
    # What is dropped before the first group of a step is no part of it.
    assert astuple(collector.progress) == astuple(
        Progress(next_index=2 + dropped_for_good, trained=2, dropped=dropped_for_good)
    )
    for index in range(2, 6):
        collector.offer(make_group(index))
    taken = indices(collector.take())
    lost = {group.prompt.index for group in arrived if group.lost is not None}
    assert taken == [index for index in range(2, 6) if index not in lost][:2]
