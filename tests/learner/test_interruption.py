"""A step that is ended while it waits for its groups leaves no trace in what a checkpoint would hold."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import astuple

import pytest

from common.records import TrajectoryGroup
from learner.collector import Collector, Progress
from learner.interruption import InterruptibleCollector, StepInterruptedError, or_interrupted
from tests.learner.learner_tools import lost_group, make_group


def make_collector(interrupted: threading.Event) -> InterruptibleCollector:
    return InterruptibleCollector(2, 0, "drop", "skip", Progress(), interrupted=interrupted)


@pytest.mark.parametrize(
    "arrived",
    [
        [],
        [make_group(2)],
        [lost_group(2), make_group(3)],
        [make_group(2), lost_group(3)],
        [make_group(3)],
    ],
    ids=["none", "one", "lost one, one", "one, lost one", "out of order"],
)
def test_groups_of_an_unfinished_step_are_not_counted(arrived: list[TrajectoryGroup]) -> None:
    interrupted = threading.Event()
    collector = make_collector(interrupted)
    for index in (0, 1):
        collector.offer(make_group(index))
    assert collector.take() is not None
    before = astuple(collector.progress)
    for group in arrived:
        collector.offer(group)
        assert collector.take() is None
    interrupted.set()
    assert collector.take() == []
    restored = astuple(collector.progress)
    first_is_lost = bool(arrived) and arrived[0].lost is not None  # dropped for good before the step took anything
    assert restored == (before if not first_is_lost else astuple(Progress(next_index=3, trained=2, dropped=1)))


def test_a_step_that_has_its_groups_is_not_interrupted() -> None:
    interrupted = threading.Event()
    interrupted.set()
    collector = make_collector(interrupted)
    for index in (0, 1):
        collector.offer(make_group(index))
    assert len(collector.take() or ()) == 2
    assert collector.progress.next_index == 2


def test_a_later_life_builds_the_batch_that_was_interrupted() -> None:
    interrupted = threading.Event()
    collector = make_collector(interrupted)
    groups = [make_group(0), make_group(1)]
    collector.offer(groups[0])
    assert collector.take() is None
    interrupted.set()
    assert collector.take() == []
    successor = Collector(2, 0, "drop", "skip", collector.progress)
    for group in groups:
        assert successor.offer(group)
    assert successor.take() == groups


def test_every_rank_learns_of_the_interruption_from_what_is_shared() -> None:
    groups = [make_group(0)]

    def share(given: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup]:
        return groups if given is None else given

    shared = or_interrupted(share)
    assert shared(None) == groups
    with pytest.raises(StepInterruptedError):
        shared([])
