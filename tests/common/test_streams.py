from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from common.config import StreamsConfig
from common.records import PromptGroup, Purpose, RolloutGroup, TrajectoryGroup
from common.streams import (
    CONSUMER_GROUPS,
    DEAD_LETTERS,
    EVALUATIONS,
    PROMPTS,
    ROLLOUTS,
    TRAJECTORIES,
    Consumer,
    StreamError,
    StreamFullError,
    Streams,
    StreamsAwayError,
    connect,
)
from tests.common.stream_records import PROMPT, RESULT

MakeStreams = Callable[..., Streams]


@pytest.fixture
def make_streams(redis_url: str, run_id: str) -> Iterator[MakeStreams]:
    clients: list[redis.Redis] = []

    def build(**settings: Any) -> Streams:
        clients.append(connect(redis_url))
        streams = Streams(clients[-1], run_id, StreamsConfig(**settings))
        streams.create()
        return streams

    yield build
    for client in clients:
        client.close()


def pending(streams: Streams, name: str) -> int:
    summary: Any = streams.client.xpending(streams.key(name), CONSUMER_GROUPS[name])
    return int(summary["pending"])


def read_until(consumer: Consumer, seconds: float = 20.0) -> list[Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = consumer.read(8, 0.05)
        if found:
            return found
    raise AssertionError("no message came")


def test_messages_come_in_order_whole_and_for_the_first_time(make_streams: MakeStreams) -> None:
    streams = make_streams()
    sent = [b"", b"\x00\xff\r\n", b"x" * 100_000, b"last"]
    streams.publish(PROMPTS, sent, deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    got = consumer.read(3, 1) + consumer.read(3, 1)
    assert [d.data for d in got] == sent
    assert [d.attempt for d in got] == [1, 1, 1, 1]
    assert consumer.read(3, 0) == []


def test_each_message_goes_to_one_consumer(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    a, b = Consumer(streams, PROMPTS, "a"), Consumer(streams, PROMPTS, "b")
    assert [d.data for d in a.read(1, 0) + b.read(5, 0)] == [b"1", b"2"]


def test_runs_do_not_see_each_other(redis_url: str, make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"mine"], counters={"admitted": 1}, deadline=1)
    other = Streams(streams.client, "another-run", StreamsConfig())
    other.create()
    assert other.depth(PROMPTS) == 0
    assert other.counters() == {}
    assert Consumer(other, PROMPTS, "a").read(1, 0) == []


def test_create_keeps_what_is_there(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    Consumer(streams, PROMPTS, "a").read(1, 0)
    streams.create()
    assert streams.messages(PROMPTS) == [b"1", b"2"]
    assert pending(streams, PROMPTS) == 1


def test_acknowledged_messages_vanish(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(TRAJECTORIES, [b"1", b"2", b"3"], deadline=1)
    consumer = Consumer(streams, TRAJECTORIES, "a")
    got = consumer.read(3, 1)
    assert streams.depth(TRAJECTORIES) == 3
    consumer.acknowledge(d.id for d in got[:2])
    consumer.acknowledge([])
    assert streams.messages(TRAJECTORIES) == [b"3"]
    assert pending(streams, TRAJECTORIES) == 1
    consumer.acknowledge([got[2].id])
    assert streams.depth(TRAJECTORIES) == 0


def test_a_result_replaces_its_cause(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"cause"], deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    consumer.publish_and_acknowledge(consumer.read(1, 1)[0], RESULT, deadline=1)
    assert (streams.messages(PROMPTS), streams.messages(TRAJECTORIES)) == ([], [RESULT.encode()])
    assert pending(streams, PROMPTS) == 0


def test_no_observer_sees_a_message_in_both_streams_or_in_neither(make_streams: MakeStreams) -> None:
    streams, observer = make_streams(), make_streams()
    total = 300
    streams.publish(PROMPTS, [b"m"] * total, deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    deliveries = consumer.read(total, 1)

    def work() -> None:
        for delivery in deliveries:
            consumer.publish_and_acknowledge(delivery, RESULT, deadline=5)

    worker = threading.Thread(target=work)
    worker.start()
    sums = set()
    while worker.is_alive():
        with observer.client.pipeline(transaction=True) as look:
            look.xlen(observer.key(PROMPTS))
            look.xlen(observer.key(TRAJECTORIES))
            sums.add(sum(look.execute()))
    worker.join()
    assert sums == {total}
    assert observer.depth(TRAJECTORIES) == total


def test_no_observer_sees_records_without_their_counters(make_streams: MakeStreams) -> None:
    streams, observer = make_streams(), make_streams()
    streams.set_counters({"admitted": 0})

    def admit() -> None:
        for i in range(1, 201):
            streams.publish(PROMPTS, [b"p"], counters={"admitted": i}, deadline=5)

    worker = threading.Thread(target=admit)
    worker.start()
    differences = set()
    while worker.is_alive():
        with observer.client.pipeline(transaction=True) as look:
            look.xlen(observer.key(PROMPTS))
            look.hget(observer.key("counters"), "admitted")
            depth, counter = look.execute()
            differences.add(depth - int(counter))
    worker.join()
    assert differences == {0}
    assert observer.counters() == {"admitted": 200}


def test_result_that_redis_refuses_leaves_its_cause_unacknowledged(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"cause"], deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    delivery = consumer.read(1, 1)[0]
    streams.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StreamsAwayError, match="memory is full"):
            consumer.publish_and_acknowledge(delivery, RESULT, deadline=1)
    finally:
        streams.client.config_set("maxmemory", 0)
    assert (streams.messages(PROMPTS), streams.depth(TRAJECTORIES)) == ([b"cause"], 0)
    assert pending(streams, PROMPTS) == 1


def test_full_stream_stops_its_producers_after_their_deadline(make_streams: MakeStreams) -> None:
    streams = make_streams(capacity=2)
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    streams.publish(TRAJECTORIES, [b"1", b"2"], deadline=1)
    with pytest.raises(StreamFullError, match="stream prompts stayed full"):
        streams.publish(PROMPTS, [b"3"], counters={"admitted": 3}, deadline=0.1)
    consumer = Consumer(streams, PROMPTS, "a")
    delivery = consumer.read(1, 1)[0]
    with pytest.raises(StreamFullError, match="stream trajectories stayed full"):
        consumer.publish_and_acknowledge(delivery, RESULT, deadline=0.1)
    assert streams.messages(PROMPTS) == streams.messages(TRAJECTORIES) == [b"1", b"2"]
    assert streams.counters() == {}


def test_waiting_producer_goes_on_once_the_stream_drains(make_streams: MakeStreams) -> None:
    streams, other = make_streams(capacity=1), make_streams(capacity=1)
    streams.publish(PROMPTS, [b"1"], deadline=1)
    producer = threading.Thread(target=other.publish, args=(PROMPTS, [b"2"]), kwargs={"deadline": 30})
    producer.start()
    consumer = Consumer(streams, PROMPTS, "a")
    got = consumer.read(1, 1)
    assert streams.messages(PROMPTS) == [b"1"]  # delivered is not drained
    consumer.acknowledge([got[0].id])
    producer.join(30)
    assert streams.messages(PROMPTS) == [b"2"]


def test_restarted_consumer_gets_its_left_overs_alone_and_counted(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"1", b"2", b"3"], deadline=1)
    Consumer(streams, PROMPTS, "a").read(2, 1)
    crashed = Consumer(streams, PROMPTS, "a").read(8, 1)
    assert [(d.data, d.attempt) for d in crashed] == [(b"1", 2)]
    again = Consumer(streams, PROMPTS, "a")
    first = again.read(8, 1)
    assert [(d.data, d.attempt) for d in first] == [(b"1", 3)]
    again.acknowledge([first[0].id])
    second = again.read(8, 1)
    assert [(d.data, d.attempt) for d in second] == [(b"2", 2)]
    again.acknowledge([second[0].id])
    assert [(d.data, d.attempt) for d in again.read(8, 1)] == [(b"3", 1)]


def test_orphan_is_claimed_by_a_neighbour_alone_and_counted(make_streams: MakeStreams) -> None:
    streams = make_streams(claim_seconds=0.1)
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    Consumer(streams, PROMPTS, "dead").read(2, 1)
    neighbour = Consumer(streams, PROMPTS, "alive")
    got = read_until(neighbour)
    assert [(d.data, d.attempt) for d in got] == [(b"1", 2)]
    neighbour.acknowledge([got[0].id])
    assert [(d.data, d.attempt) for d in read_until(neighbour)] == [(b"2", 2)]


def test_message_in_work_is_not_claimed_before_its_time(make_streams: MakeStreams) -> None:
    streams = make_streams(claim_seconds=60)
    streams.publish(PROMPTS, [b"1"], deadline=1)
    Consumer(streams, PROMPTS, "busy").read(1, 1)
    assert Consumer(streams, PROMPTS, "idle").read(1, 0.05) == []


def test_consumer_does_not_claim_what_it_holds_itself(make_streams: MakeStreams) -> None:
    """The learner holds groups until a checkpoint contains them, for longer than ``claim_seconds``."""
    streams = make_streams(claim_seconds=0.05)
    streams.publish(TRAJECTORIES, [b"1", b"2"], deadline=1)
    learner = Consumer(streams, TRAJECTORIES, "learner-0")
    assert len(learner.read(2, 1)) == 2
    time.sleep(0.15)
    assert learner.read(8, 0) == []
    streams.publish(TRAJECTORIES, [b"3"], deadline=1)
    assert [d.data for d in learner.read(8, 1)] == [b"3"]


def test_orphan_behind_messages_of_ones_own_is_found(make_streams: MakeStreams) -> None:
    streams = make_streams(claim_seconds=0.05)
    streams.publish(PROMPTS, [b"own", b"orphan"], deadline=1)
    alive = Consumer(streams, PROMPTS, "alive")
    alive.read(1, 1)
    Consumer(make_streams(claim_seconds=60), PROMPTS, "dead").read(1, 1)
    assert [d.data for d in read_until(alive)] == [b"orphan"]


def test_read_pending_gives_everything_held_and_only_once(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(TRAJECTORIES, [b"1", b"2", b"3"], deadline=1)
    before = Consumer(streams, TRAJECTORIES, "learner-0")
    before.acknowledge([before.read(3, 1)[1].id])
    restarted = Consumer(streams, TRAJECTORIES, "learner-0")
    assert [d.data for d in restarted.read_pending()] == [b"1", b"3"]
    assert restarted.read(8, 0) == []
    streams.publish(TRAJECTORIES, [b"4"], deadline=1)
    assert [d.data for d in restarted.read(8, 1)] == [b"4"]
    assert [d.data for d in restarted.read_pending()] == [b"1", b"3", b"4"]
    assert Consumer(streams, TRAJECTORIES, "another").read_pending() == []


@pytest.mark.parametrize(("purpose", "target"), [(Purpose.TRAIN, TRAJECTORIES), (Purpose.EVALUATION, EVALUATIONS)])
def test_results_go_on_by_their_kind_and_purpose(make_streams: MakeStreams, purpose: Purpose, target: str) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    prompt = PROMPT.model_copy(update={"purpose": purpose})
    rollouts = RolloutGroup(
        prompt=prompt, prompt_ids=(1,), tokenizer_hash="", version=0, worker="a", seconds=0.0, rollouts=()
    )
    lost = TrajectoryGroup.from_lost(prompt, "a", "because")
    first, second = consumer.read(2, 1)
    consumer.publish_and_acknowledge(first, rollouts, deadline=1)
    consumer.publish_and_acknowledge(second, lost, deadline=1)
    found = {name: streams.messages(name) for name in CONSUMER_GROUPS if streams.depth(name)}
    assert found == {ROLLOUTS: [rollouts.encode()], target: [lost.encode()]}


def test_what_is_no_record_goes_to_the_dead_letters_and_its_neighbours_are_served(
    make_streams: MakeStreams,
) -> None:
    streams = make_streams()
    streams.publish(PROMPTS, [b"bad", PROMPT.encode(), RESULT.encode()], deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    assert [record for _, record in consumer.decode(PromptGroup, consumer.read(3, 1))] == [PROMPT]
    assert streams.messages(DEAD_LETTERS) == [b"bad", RESULT.encode()]
    assert streams.messages(PROMPTS) == [PROMPT.encode()]


def test_a_dead_letter_keeps_its_bytes_reason_and_source(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.publish(ROLLOUTS, [b"\xff bad"], deadline=1)
    consumer = Consumer(streams, ROLLOUTS, "a")
    consumer.dead_letter(consumer.read(1, 1)[0], "no record: ☃")
    entries: Any = streams.client.xrange(streams.key(DEAD_LETTERS))
    assert [fields for _, fields in entries] == [
        {b"record": b"\xff bad", b"reason": "no record: ☃".encode(), b"source": streams.key(ROLLOUTS).encode()}
    ]
    assert streams.depth(ROLLOUTS) == pending(streams, ROLLOUTS) == 0


def test_finished_run_expires(make_streams: MakeStreams) -> None:
    streams = make_streams()
    streams.set_counters({"admitted": 1})
    streams.expire()
    for name in (*CONSUMER_GROUPS, "counters"):
        assert 0 < int(streams.client.ttl(streams.key(name))) <= 24 * 3600  # type: ignore[arg-type]


def test_no_redis_names_the_address_without_the_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound but not listening: nothing answers
        address = f"127.0.0.1:{probe.getsockname()[1]}/0"
        with pytest.raises(StreamError, match=address) as caught:
            connect(f"redis://user:hunter2@{address}")
    assert "hunter2" not in str(caught.value)


def test_wrong_password_is_an_error_without_the_password(redis_url: str) -> None:
    address = redis_url.rpartition("@")[2]
    with pytest.raises(StreamError, match=address) as caught:
        connect(f"redis://:hunter2@{address}")
    assert "hunter2" not in str(caught.value)


def test_text_that_is_no_address_is_an_error() -> None:
    with pytest.raises(StreamError, match="not a Redis address"):
        connect("localhost:6379")


def test_a_message_in_work_is_not_claimed_however_long_the_work_takes(redis_url, run_id):
    streams = Streams(connect(redis_url), run_id, StreamsConfig(claim_seconds=0.3))
    streams.create()
    streams.publish(PROMPTS, [b"long work"], deadline=1)
    worker, neighbour = Consumer(streams, PROMPTS, "rollout-0"), Consumer(streams, PROMPTS, "rollout-1")
    (delivery,) = worker.read(1, 1)
    with worker.holding([delivery]):
        for _ in range(4):
            assert neighbour.read(1, 0.2) == []
    (claimed,) = _until_claimed(neighbour)
    assert (claimed.data, claimed.attempt) == (b"long work", 2)


def _until_claimed(consumer):
    for _ in range(50):
        found = consumer.read(1, 0.1)
        if found:
            return found
    return []
