"""Which groups make a step: by admission order alone without staleness, else the oldest of what has come."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

import pytest

from common.records import TrajectoryGroup
from learner.collector import Collector, Discarded
from learner.progress import Outcome, Progress
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
    ("drop", "replace", 5, make_group(0, FLAT, version=2), Outcome.FILTERED),
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
        assert taken.consumed == taken.next_index + len(taken.ahead)
        assert taken.trained == before + len(batches) * collector.groups_per_step
    return batches


@pytest.mark.parametrize("stale", ["drop", "wait"])
@pytest.mark.parametrize("zero_variance", ["skip", "replace"])
def test_batches_do_not_depend_on_the_order_of_arrival(
    stale: Literal["drop", "wait"], zero_variance: Literal["skip", "replace"]
) -> None:
    groups = mixed_groups(60)
    expected_progress = Progress()
    in_order = drive(groups, range(60), make_collector(3, 0, stale, zero_variance, expected_progress))
    assert len(in_order) > 5
    shuffle = random.Random(20)
    for _ in range(25):
        arrivals = [*range(60), *shuffle.choices(range(60), k=20)]
        shuffle.shuffle(arrivals)
        progress = Progress()
        assert drive(groups, arrivals, make_collector(3, 0, stale, zero_variance, progress)) == in_order
        assert progress == expected_progress


def test_a_replay_from_any_checkpoint_builds_the_same_batches() -> None:
    groups = mixed_groups(40)
    collector = make_collector(3, 0, "drop", "replace")
    whole: list[list[int] | None] = []
    checkpoints: list[Progress] = []
    gone: set[int] = set()  # acknowledged as they are decided, so that a replay lacks them
    for group in groups:
        collector.offer(group)
        gone |= {one.index for one in collector.take_discarded()}
        while (batch := collector.take()) is not None:
            whole.append(indices(batch))
            collector.progress.version += 1
            checkpoints.append(replace(collector.progress))
    assert len(whole) > 3
    for done, checkpoint in enumerate(checkpoints, start=1):
        again = make_collector(3, 0, "drop", "replace", checkpoint)
        again.discard_again([Discarded(i, "", Outcome.FILTERED) for i in sorted(gone)])
        left = [index for index in range(40) if index not in gone]
        assert drive(groups, left, again) == whole[done:]
        assert again.progress.next_index == collector.progress.next_index


def test_a_step_that_lacks_groups_counts_none_of_them() -> None:
    collector = make_collector(3, zero_variance="replace")
    for group in (make_group(0), lost_group(2), make_group(3, FLAT), make_group(4)):
        collector.offer(group)
    assert collector.take() is None
    assert collector.progress == Progress(next_index=0, filtered=1, dropped=1, ahead=(2, 3))
    assert collector.late() == 0, "in order, none is to be admitted in the place of another"
    collector.offer(make_group(1))
    assert indices(collector.take()) == [0, 1, 4]
    assert collector.progress == Progress(next_index=5, trained=3, filtered=1, dropped=1)


def test_with_staleness_a_slow_group_holds_up_nobody() -> None:
    collector = make_collector(2, max_staleness=2)
    for index, version in ((3, 0), (1, 0), (2, 0), (5, 0), (4, 0)):
        collector.offer(make_group(index, version=version))
    assert collector.missing() == [0]
    assert indices(collector.take()) == [1, 2]
    assert collector.progress.ahead == (1, 2)
    collector.progress.version = 1
    assert not collector.offer(make_group(1)), "it is trained"
    assert indices(collector.take()) == [3, 4]
    collector.progress.version = 2
    collector.offer(make_group(0, version=0))
    assert indices(collector.take()) == [0, 5], "the slow one is not too old yet"
    assert collector.progress == Progress(version=2, next_index=6, trained=6)


def test_the_oldest_weights_go_first() -> None:
    collector = make_collector(2, max_staleness=4)
    collector.progress.version = 3
    for index, version in ((0, 3), (1, 2), (2, 3), (3, 1)):
        collector.offer(make_group(index, version=version))
    assert indices(collector.take()) == [1, 3]
    assert indices(collector.take()) == [0, 2]


def test_what_comes_too_late_is_dropped_unless_staleness_only_paces() -> None:
    for stale, outcome in (("drop", Outcome.DROPPED), ("wait", Outcome.TRAINED)):
        collector = make_collector(2, max_staleness=1, stale=stale)  # type: ignore[arg-type]
        for index in (1, 2, 3, 4):
            collector.offer(make_group(index))
        assert (collector.late(), collector.missing()) == (1, [0])
        assert indices(collector.take()) == [1, 2]
        collector.progress.version = 2
        collector.offer(make_group(0))
        assert collector.late() == 0
        collector.take()
        assert getattr(collector.progress, outcome) == (3 if outcome is Outcome.DROPPED else 4)


def test_a_checkpoint_in_between_keeps_what_was_trained_out_of_order() -> None:
    collector = make_collector(2, max_staleness=1)
    for index in (1, 3):
        collector.offer(make_group(index))
    assert indices(collector.take()) == [1, 3]
    stored = json.loads(json.dumps(asdict(collector.progress)))
    again = make_collector(2, max_staleness=1, progress=Progress(**stored))
    assert again.progress == collector.progress
    assert [index for index in range(5) if again.offer(make_group(index))] == [0, 2, 4]


def test_which_tasks_are_flat_is_kept_by_the_last_group_of_each_whatever_comes_first() -> None:
    def of_task(index: int, task: str, rewards: tuple[float, float]) -> TrajectoryGroup:
        group = make_group(index, rewards)
        prompt = group.prompt.model_copy(update={"task": group.prompt.task.model_copy(update={"id": task})})
        return group.model_copy(update={"prompt": prompt})

    good = (0.0, 1.0)
    groups = [of_task(0, "a", FLAT), of_task(1, "a", good), of_task(2, "b", good), of_task(3, "b", FLAT)]
    groups += [of_task(4, "c", good), of_task(5, "d", FLAT), of_task(6, "d", FLAT)]
    for arrivals in (groups, groups[::-1]):
        progress = Progress()
        collector = Collector(3, 0, "drop", "replace", progress, keep_flat=True)
        for group in arrivals:
            collector.offer(group)
        assert progress.flat_tasks == {}, "no step has ended"
        assert indices(collector.take()) == [1, 2, 4]
        assert progress.flat_tasks == {"b": 3, "d": 6}
        collector.offer(of_task(7, "b", good))
        collector.offer(of_task(8, "x", good))
        collector.offer(of_task(9, "y", good))
        collector.take()
        assert progress.flat_tasks == {"d": 6}
        assert Progress(**json.loads(json.dumps(asdict(progress)))) == progress
