"""The learner's end of the trajectory stream, on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest

from common.config import StreamsConfig
from common.records import TrajectoryGroup
from common.streams import CONSUMER_GROUPS, DEAD_LETTERS, TRAJECTORIES, Consumer, Streams, connect
from learner.collector import Collector
from learner.progress import Progress
from learner.source import CHECKPOINTED, StepDeadlineError, StepLostError, TrajectorySource
from tests.learner.learner_tools import lost_group, make_group


@pytest.fixture
def streams(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Streams]:
    client = connect(redis_url)
    config = StreamsConfig(capacity=50, claim_seconds=0.05)
    made = Streams(client, f"source-{request.node.name}-{time.monotonic_ns()}", config)
    made.create()
    yield made
    client.close()


def open_source(
    streams: Streams,
    progress: Progress,
    groups_per_step: int = 2,
    deadline: float = 20.0,
    interrupted: threading.Event | None = None,
    zero_variance: Literal["skip", "replace"] = "skip",
    max_staleness: int = 0,
    max_discarded: int = 0,
) -> TrajectorySource:
    """What a learner process does when it starts; calling it again is a restart of the same consumer."""
    collector = Collector(groups_per_step, max_staleness, "wait", zero_variance, progress)
    consumer = Consumer(streams, TRAJECTORIES, "learner-0")
    stop = interrupted or threading.Event()
    return TrajectorySource(streams, consumer, collector, deadline, stop, max_discarded)


def publish(streams: Streams, indices: Sequence[int]) -> None:
    streams.publish(TRAJECTORIES, [make_group(index).encode() for index in indices], deadline=1)


def taken(groups: Sequence[TrajectoryGroup] | None) -> list[int]:
    assert groups is not None
    return [group.prompt.index for group in groups]


def kept(streams: Streams) -> list[int]:
    """Groups of the stream that are not yet acknowledged."""
    return sorted(TrajectoryGroup.decode(data).prompt.index for data in streams.messages(TRAJECTORIES))


def pending(streams: Streams) -> int:
    summary: Any = streams.client.xpending(streams.key(TRAJECTORIES), CONSUMER_GROUPS[TRAJECTORIES])
    return int(summary["pending"])


def test_groups_come_in_admission_order(streams: Streams) -> None:
    publish(streams, [3, 0, 2, 1])
    source = open_source(streams, Progress())
    assert taken(source.next_groups()) == [0, 1]
    assert taken(source.next_groups()) == [2, 3]


def test_nothing_is_acknowledged_before_a_checkpoint_and_then_only_what_was_consumed(streams: Streams) -> None:
    publish(streams, [0, 1, 3])
    source = open_source(streams, Progress())
    source.next_groups()
    assert kept(streams) == [0, 1, 3]
    source.checkpointed()
    assert kept(streams) == [3]
    assert pending(streams) == 1
    source.checkpointed()
    assert kept(streams) == [3]


def test_messages_that_idle_until_their_checkpoint_stay_unacknowledged(streams: Streams) -> None:
    publish(streams, [0, 1])
    source = open_source(streams, Progress())
    source.next_groups()
    time.sleep(0.2)  # longer than claim_seconds: by then they look like a dead consumer's
    publish(streams, [2, 3])
    assert taken(source.next_groups()) == [2, 3]
    assert kept(streams) == [0, 1, 2, 3]
    source.checkpointed()
    assert kept(streams) == []


def test_a_restarted_learner_gets_what_was_not_checkpointed_again_and_again(streams: Streams) -> None:
    publish(streams, [0, 1, 2])
    open_source(streams, Progress()).next_groups()
    for _ in range(3):
        progress = Progress()
        again = open_source(streams, progress)
        assert taken(again.next_groups()) == [0, 1]
        assert kept(streams)[:3] == [0, 1, 2]
    publish(streams, [3])
    assert taken(again.next_groups()) == [2, 3]
    assert kept(streams) == [0, 1, 2, 3]
    again.checkpointed()
    assert kept(streams) == []


def test_a_restart_in_the_middle_of_a_step_keeps_every_message(streams: Streams) -> None:
    publish(streams, [0, 1, 2])
    first = open_source(streams, Progress(), groups_per_step=3)
    first.next_groups()
    publish(streams, [5])
    again = open_source(streams, Progress(), groups_per_step=3)
    again.next_groups()
    publish(streams, [3, 4])
    assert taken(again.next_groups()) == [3, 4, 5]
    assert kept(streams) == [0, 1, 2, 3, 4, 5]


def test_what_the_checkpoint_holds_already_is_acknowledged_at_the_restart(streams: Streams) -> None:
    publish(streams, [0, 1, 2, 3])
    open_source(streams, Progress()).next_groups()  # killed after its checkpoint, before the acknowledgement
    again = open_source(streams, Progress(version=1, next_index=2, trained=2))
    assert kept(streams) == [2, 3]
    assert taken(again.next_groups()) == [2, 3]


def test_a_duplicate_is_acknowledged_and_trained_once(streams: Streams) -> None:
    publish(streams, [0, 0, 1, 2, 1, 3])
    source = open_source(streams, Progress())
    assert taken(source.next_groups()) == [0, 1]
    assert taken(source.next_groups()) == [2, 3]
    assert kept(streams) == [0, 1, 2, 3]
    source.checkpointed()
    assert pending(streams) == 0


@pytest.mark.parametrize(("there", "missing"), [([0, 2], 1), ([0], 1), ([], 0)])
def test_the_deadline_names_the_missing_group(streams: Streams, there: list[int], missing: int) -> None:
    publish(streams, there)
    source = open_source(streams, Progress(version=7), deadline=0.1)
    with pytest.raises(StepDeadlineError, match=rf"learner step 8 .* came; .* of group {missing} never came"):
        source.next_groups()


def test_a_damaged_message_goes_to_the_dead_letters_with_its_reason(streams: Streams) -> None:
    streams.publish(TRAJECTORIES, [b"garbage"], deadline=1)
    publish(streams, [0, 1])
    source = open_source(streams, Progress())
    assert taken(source.next_groups()) == [0, 1]
    assert streams.messages(DEAD_LETTERS) == [b"garbage"]
    assert kept(streams) == [0, 1]


def test_counters_follow_the_progress_and_fall_back_with_it(streams: Streams) -> None:
    publish(streams, [0, 1])
    source = open_source(streams, Progress())
    source.next_groups()
    expected = {"trained": 2, "filtered": 0, "dropped": 0, "late": 0, "discarded_before": 0, CHECKPOINTED: 0}
    assert streams.counters() == expected
    open_source(streams, Progress())
    assert streams.counters()["trained"] == 0


def test_the_counter_of_groups_that_may_be_gone_is_never_behind_the_stream(streams: Streams) -> None:
    publish(streams, [0, 1, 2, 3])
    source = open_source(streams, Progress())
    source.next_groups()
    source.checkpointed()
    assert (kept(streams), streams.counters()[CHECKPOINTED]) == ([2, 3], 2)
    source.next_groups()  # killed after its checkpoint, before the acknowledgement
    assert streams.counters()[CHECKPOINTED] == 2
    open_source(streams, Progress(version=2, next_index=4, trained=4))
    assert (kept(streams), streams.counters()[CHECKPOINTED]) == ([], 4)


def test_an_interrupted_step_is_not_begun_and_a_later_process_builds_it(streams: Streams) -> None:
    interrupted = threading.Event()
    publish(streams, [0, 1, 2])
    progress = Progress()
    source = open_source(streams, progress, interrupted=interrupted)
    assert taken(source.next_groups()) == [0, 1]
    interrupted.set()
    assert source.next_groups() is None
    assert (progress.next_index, progress.trained) == (2, 2)
    assert streams.counters()["trained"] == 2
    assert kept(streams) == [0, 1, 2]
    publish(streams, [3])
    successor = open_source(streams, progress)
    assert taken(successor.next_groups()) == [2, 3]


FLAT = (1.0, 1.0)


def publish_groups(streams: Streams, groups: Sequence[TrajectoryGroup], deadline: float = 20.0) -> None:
    streams.publish(TRAJECTORIES, [group.encode() for group in groups], deadline=deadline)


def test_discarded_groups_go_at_once_and_a_successor_decides_the_same(streams: Streams) -> None:
    publish_groups(streams, [make_group(0), make_group(1, FLAT), lost_group(2), make_group(4, FLAT)])
    source = open_source(streams, Progress(), zero_variance="replace", deadline=0.1)
    with pytest.raises(StepDeadlineError, match=r"4 came: 2 filtered, 1 lost: killed its worker 3 .* group 3"):
        source.next_groups()
    assert kept(streams) == [0]
    assert {name: streams.counters()[name] for name in ("filtered", "dropped")} == {"filtered": 2, "dropped": 1}

    progress = Progress()
    successor = open_source(streams, progress, zero_variance="replace")
    assert progress == Progress(filtered=2, dropped=1, ahead=(1, 2, 4))
    publish_groups(streams, [make_group(3), make_group(4)])
    assert taken(successor.next_groups()) == [0, 3]
    assert progress == Progress(next_index=5, trained=2, filtered=2, dropped=1)
    assert kept(streams) == [0, 3]
    successor.checkpointed()
    assert kept(streams) == []
    unknown = Progress()
    open_source(streams, unknown)
    assert unknown == Progress(), "what a checkpoint holds is kept nowhere else"


def test_any_number_of_filtered_groups_fits_between_two_checkpoints(streams: Streams) -> None:
    capacity = streams.config.capacity
    source = open_source(streams, Progress(), zero_variance="replace")
    publish_groups(streams, [make_group(index, FLAT) for index in range(capacity)])
    last = [make_group(capacity), make_group(capacity + 1)]
    feeder = threading.Thread(target=publish_groups, args=(streams, last))
    feeder.start()  # it waits for room
    assert taken(source.next_groups()) == [capacity, capacity + 1]
    feeder.join()


def test_out_of_order_groups_are_acknowledged_one_by_one(streams: Streams) -> None:
    publish(streams, [1, 3, 4])
    progress = Progress()
    source = open_source(streams, progress, max_staleness=1)
    assert taken(source.next_groups()) == [1, 3]
    assert source.spare == 1
    source.checkpointed()
    assert kept(streams) == [4]
    assert streams.counters()[CHECKPOINTED] == 2
    publish(streams, [0])
    successor = open_source(streams, progress, max_staleness=1)
    assert taken(successor.next_groups()) == [0, 4]


def test_a_step_whose_groups_are_all_lost_for_one_reason_stops_the_run_with_it(streams: Streams) -> None:
    prompts = [make_group(index).prompt for index in range(9)]
    lost = [TrajectoryGroup.from_lost(one, "w", f"task {one.task.id!r} is too long") for one in prompts]
    publish_groups(streams, lost[:8])
    with pytest.raises(StepLostError, match=r"step 1: all its groups are lost, for one reason: task 'task-0' is"):
        open_source(streams, Progress()).next_groups()
    publish_groups(streams, [lost[8], lost_group(9), make_group(10), make_group(11)])
    assert taken(open_source(streams, Progress()).next_groups()) == [10, 11], "two reasons, and groups of use"


def test_a_limit_ends_a_search_for_groups_of_use(streams: Streams) -> None:
    publish_groups(streams, [make_group(0), *(make_group(index, FLAT) for index in range(1, 8))])
    source = open_source(streams, Progress(version=4), zero_variance="replace", max_discarded=3)
    with pytest.raises(StepLostError, match=r"step 5: 8 came: 7 filtered; that is more than 6 .*max_discarded"):
        source.next_groups()


def test_what_comes_beside_a_step_is_read_ahead_and_neither_lost_nor_doubled(streams: Streams) -> None:
    publish(streams, [0, 1])
    progress = Progress()
    source = open_source(streams, progress, max_staleness=1)
    assert taken(source.next_groups()) == [0, 1]
    publish(streams, [2, 2, 3])
    publish_groups(streams, [lost_group(6)])
    end = time.monotonic() + 20
    while pending(streams) < 6 and time.monotonic() < end:  # the step is trained
        time.sleep(0.01)
    assert pending(streams) == 6
    source.checkpointed()
    assert kept(streams) == [2, 3]
    restarted = Progress(version=1, next_index=2, trained=2)
    open_source(streams, restarted, max_staleness=1)
    assert restarted.ahead == (6,), "what was decided after the checkpoint is known"
    publish(streams, [4, 5])
    assert taken(source.next_groups()) == [2, 3]
    assert taken(source.next_groups()) == [4, 5]
    source.checkpointed()
    assert kept(streams) == []
