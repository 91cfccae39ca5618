"""Streams while their server is killed, stopped, full, a replica, or loses replies; and what it may forbid."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from common.config import StreamsConfig
from common.streams import (
    CONSUMER_GROUPS,
    DEAD_LETTERS,
    PROMPTS,
    TRAJECTORIES,
    Consumer,
    Patience,
    StreamError,
    Streams,
    StreamsAwayError,
    check_access,
    open_client,
)
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from tests.common.stream_records import RESULT
from tests.lossy_proxy import LossyProxy

LONG = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def admin(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client that may do everything."""
    with redis.Redis.from_url(server.url) as client:
        yield client


def open_streams(url: str, run_id: str, patience: Patience | None = None, **settings: Any) -> Streams:
    streams = Streams(open_client(url, timeout=0.5), run_id, StreamsConfig(**settings), patience or Patience(LONG))
    streams.create()
    return streams


def pending(streams: Streams, name: str) -> int:
    summary: Any = streams.client.xpending(streams.key(name), CONSUMER_GROUPS[name])
    return int(summary["pending"])


@contextmanager
def killed(server: EmbeddedRedis, admin: redis.Redis) -> Iterator[None]:
    os.kill(server.pid, signal.SIGKILL)
    yield
    while server.keep_running() is None:
        time.sleep(0.01)


@contextmanager
def stopped(server: EmbeddedRedis, admin: redis.Redis) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@contextmanager
def full(server: EmbeddedRedis, admin: redis.Redis) -> Iterator[None]:
    admin.config_set("maxmemory", 1)
    yield
    admin.config_set("maxmemory", 0)


@contextmanager
def replica(server: EmbeddedRedis, admin: redis.Redis) -> Iterator[None]:
    """What a fail-over makes of a primary, for good or until it is one again."""
    with socket.create_server(("127.0.0.1", 0)) as primary:
        admin.replicaof("127.0.0.1", str(primary.getsockname()[1]))
        yield
        admin.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    ("fault", "told"),
    [(killed, "does not answer"), (stopped, "does not answer"), (full, "memory is full"), (replica, "fail-over")],
)
def test_work_waits_for_the_server_and_is_done_once(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str, fault: Callable[..., Any], told: str
) -> None:
    notes: list[str] = []
    seen = threading.Event()

    def note(line: str) -> None:
        notes.append(line)
        seen.set()

    streams = open_streams(server.url, run_id, Patience(LONG, note, note_after=0.05))
    streams.publish(PROMPTS, [b"1", b"2"], counters={"admitted": 2}, deadline=1)
    consumer = Consumer(streams, PROMPTS, "a")
    first, second = consumer.read(2, 1)

    def work() -> tuple[list[bytes], float]:
        deadline = streams.deadline(0.01)
        consumer.publish_and_acknowledge(first, RESULT, deadline=0.01)  # an outage does not count
        time.sleep(0.02)
        assert deadline.passed
        streams.publish(PROMPTS, [b"3"], counters={"admitted": 3}, deadline=0.01)
        found = [delivery.data for delivery in consumer.read(8, 1)]
        return found, streams.patience.waited

    with ThreadPoolExecutor(1) as pool:
        with fault(server, admin):
            working = pool.submit(work)
            assert seen.wait(LONG)
            assert "deadlines.redis_seconds" in notes[0]
            assert told in notes[0]
            assert not working.done()
        found, waited = working.result(LONG)
    assert found == [b"3"]
    assert waited > 0
    assert streams.messages(TRAJECTORIES) == [RESULT.encode()]
    assert streams.messages(PROMPTS) == [b"2", b"3"]
    assert streams.counters() == {"admitted": 3}
    assert len(notes) == 2
    assert streams.patience.problem is None
    consumer.acknowledge([second.id])


def test_a_server_that_takes_no_writes_is_told_of_without_waiting(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str
) -> None:
    """Where the run's own messages fill the memory, the run must go on for it to be freed."""
    notes: list[str] = []
    streams = open_streams(server.url, run_id, Patience(0.3, notes.append, note_after=0.0))
    streams.try_write()
    with full(server, admin):
        assert not streams.report({"trained": 1})
        streams.try_write()
        assert "memory is full" in notes[0]
        time.sleep(0.4)
        with pytest.raises(StreamsAwayError, match=r"raise maxmemory.*deadlines\.redis_seconds"):
            streams.try_write()
    streams.try_write()
    assert len(notes) == 2
    assert streams.counters() == {}


def test_patience_ends_with_what_to_do(server: EmbeddedRedis, admin: redis.Redis, run_id: str) -> None:
    streams = open_streams(server.url, run_id, Patience(0.2))
    with full(server, admin), pytest.raises(StreamsAwayError, match=r"raise maxmemory.*deadlines\.redis_seconds"):
        streams.publish(PROMPTS, [b"1"], deadline=1)
    with killed(server, admin), pytest.raises(StreamsAwayError, match="does not answer"):
        streams.depth(PROMPTS)


def test_what_is_called_meanwhile_can_end_the_wait(server: EmbeddedRedis, admin: redis.Redis, run_id: str) -> None:
    streams = open_streams(server.url, run_id)

    def stop() -> None:
        raise InterruptedError

    streams.patience.also(stop)
    with killed(server, admin), pytest.raises(InterruptedError):
        streams.depth(PROMPTS)
    assert streams.depth(PROMPTS) == 0


def test_nothing_is_lost_or_doubled_with_a_reply(server: EmbeddedRedis, run_id: str) -> None:
    proxy = LossyProxy(int(server.url.rpartition(":")[2].partition("/")[0]))
    password = server.url.partition("@")[0]
    streams = open_streams(f"{password}@127.0.0.1:{proxy.port}/0", run_id)
    consumer = Consumer(streams, PROMPTS, "a")
    for lost in (1, 2):  # with the second, the question whether it took place is not answered either
        with proxy.losing(lost):
            streams.publish(PROMPTS, [b"%d" % i for i in range(4)], counters={"admitted": 4}, deadline=1)
        assert streams.messages(PROMPTS) == [b"0", b"1", b"2", b"3"]

        with proxy.losing(lost):
            got = consumer.read(3, 1)
        got += [each for _ in range(6) for each in consumer.read(3, 0)]
        assert sorted((each.data, each.attempt) for each in got) == [(b"%d" % i, 1) for i in range(4)]

        with proxy.losing(lost):
            consumer.publish_and_acknowledge(got[0], RESULT, deadline=1)
        with proxy.losing(lost):
            consumer.dead_letter(got[1], "because")
        assert streams.messages(TRAJECTORIES) == [RESULT.encode()] * lost
        assert streams.depth(DEAD_LETTERS) == lost

        with proxy.losing(lost):
            consumer.acknowledge([each.id for each in got[2:]])
        assert (streams.depth(PROMPTS), pending(streams, PROMPTS)) == (0, 0)
    proxy.close()


def test_a_left_over_counts_as_an_attempt_and_a_lost_reply_does_not(server: EmbeddedRedis, run_id: str) -> None:
    streams = open_streams(server.url, run_id)
    streams.publish(PROMPTS, [b"1", b"2"], deadline=1)
    Consumer(streams, PROMPTS, "a").read(1, 1)
    restarted = Consumer(streams, PROMPTS, "a")
    assert [(d.data, d.attempt) for d in restarted.read(8, 1)] == [(b"1", 2)]
    streams.patience.failures += 1  # as any failed operation leaves it
    Consumer(streams, PROMPTS, "a").read_more(1)  # into a reply that the restarted one did not get
    assert [(d.data, d.attempt) for d in restarted.read(8, 1)] == [(b"2", 1)]
    assert restarted.read(8, 0) == []


def test_after_an_outage_neighbours_have_their_time_to_show_what_is_in_work(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str
) -> None:
    busy = open_streams(server.url, run_id, claim_seconds=1.5)
    idle = open_streams(server.url, run_id, claim_seconds=1.5)
    working, neighbour = Consumer(busy, PROMPTS, "busy"), Consumer(idle, PROMPTS, "idle")
    assert neighbour.read(1, 0) == []
    busy.publish(PROMPTS, [b"long work"], deadline=1)
    (delivery,) = working.read(1, 1)
    with working.holding([delivery]), ThreadPoolExecutor(1) as pool:
        with killed(server, admin):
            waiting = pool.submit(neighbour.read, 1, 0.05)
            time.sleep(1.6)  # long enough to look dead
        assert [waiting.result(LONG), neighbour.read(1, 0.05)] == [[], []]


@pytest.mark.parametrize("loss", ["emptied", "evicted", "group gone", "counters gone"])
def test_lost_data_is_noticed(server: EmbeddedRedis, admin: redis.Redis, run_id: str, loss: str) -> None:
    streams = open_streams(server.url, run_id)
    assert not streams.whole()
    streams.vouch()
    streams.publish(PROMPTS, [b"1"], deadline=1)
    assert streams.whole()
    match loss:
        case "emptied":
            admin.flushall()
        case "evicted":
            admin.delete(streams.key(TRAJECTORIES))
            streams.client.xadd(streams.key(TRAJECTORIES), {b"record": b"of a worker that does not know"})
        case "group gone":
            admin.xgroup_destroy(streams.key(PROMPTS), CONSUMER_GROUPS[PROMPTS])
        case "counters gone":
            admin.delete(streams.key("counters"))
    assert not streams.whole()
    streams.renew()
    streams.vouch()
    assert streams.whole()


def test_work_whose_result_a_set_back_server_has_lost_is_done_again(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str
) -> None:
    """Though its consumer, the only one, saw no connection fail."""
    streams = open_streams(server.url, run_id, claim_seconds=0.05)
    consumer = Consumer(streams, PROMPTS, "a")
    streams.publish(PROMPTS, [b"1"], deadline=1)
    (first,) = consumer.read(1, 1)
    replica = admin.dump(streams.key(PROMPTS))
    assert replica is not None
    consumer.publish_and_acknowledge(first, RESULT, deadline=1)
    admin.delete(streams.key(TRAJECTORIES))
    admin.restore(streams.key(PROMPTS), 0, replica, replace=True)
    streams.mend()
    time.sleep(0.1)
    (again,) = consumer.read(1, 0.1)
    assert (again.id, again.data, again.attempt) == (first.id, b"1", 2)
    time.sleep(0.1)
    assert consumer.read(1, 0.1) == [], "it is in work"


def test_streams_are_mended_though_memory_is_full(server: EmbeddedRedis, admin: redis.Redis, run_id: str) -> None:
    streams = open_streams(server.url, run_id)
    streams.vouch()
    with full(server, admin):
        streams.mend()
    admin.flushall()
    streams.mend()
    assert Consumer(streams, PROMPTS, "a").read(1, 0.01) == []
    assert not streams.whole(), "what was lost is to be completed"


def test_consumers_wait_for_streams_that_are_made_anew(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str
) -> None:
    seen = threading.Event()
    streams = open_streams(server.url, run_id, Patience(LONG, meanwhile=seen.set))
    consumer = Consumer(streams, PROMPTS, "a")
    streams.publish(PROMPTS, [b"lost"], deadline=1)
    (held,) = consumer.read(1, 1)
    admin.flushall()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(consumer.read, 8, 1)
        assert seen.wait(LONG)
        open_streams(server.url, run_id).publish(PROMPTS, [b"again"], deadline=1)
        assert [each.data for each in reading.result(LONG)] == [b"again"]
    consumer.publish_and_acknowledge(held, RESULT, deadline=1)
    assert streams.messages(TRAJECTORIES) == [RESULT.encode()], "work in hand survives the loss"


DENIED = [
    (["~couplet:*:prompts"], "XADD couplet:{run}:rollouts"),
    (["~couplet:*", "-xclaim"], "XCLAIM couplet:{run}:prompts"),
    (["~couplet:*", "-multi"], "MULTI"),
    (["~couplet:*", "-info"], "INFO"),
]


@pytest.mark.parametrize(("rights", "told"), DENIED)
def test_what_is_forbidden_is_named_before_a_run_starts(
    server: EmbeddedRedis, admin: redis.Redis, run_id: str, rights: list[str], told: str
) -> None:
    everything = ["+@stream", "+@hash", "+@keyspace", "+@transaction", "+@connection", "+info"]
    Streams(admin, run_id, StreamsConfig()).create()
    admin.execute_command("ACL", "SETUSER", "some", "reset", "on", ">secret", *everything, *rights)
    address = server.url.rpartition("@")[2]
    streams = Streams(open_client(f"redis://some:secret@{address}"), run_id, StreamsConfig(), Patience(LONG))
    with pytest.raises(StreamError, match=told.format(run=run_id)):
        check_access(streams)
    admin.execute_command("ACL", "SETUSER", "some", "reset", "on", ">secret", *everything, "~couplet:*")
    streams.client.connection_pool.disconnect()
    check_access(streams)
    streams.create()
    streams.publish(PROMPTS, [b"1"], counters={"admitted": 1}, deadline=1)
    check_access(streams)
    assert (streams.messages(PROMPTS), streams.counters()) == ([b"1"], {"admitted": 1}), "asking changes nothing"
    consumer = Consumer(streams, PROMPTS, "a")
    consumer.publish_and_acknowledge(consumer.read(1, 1)[0], RESULT, deadline=1)
    consumer.read_pending()
    streams.backlogs()
    streams.expire()
    streams.empty()


def test_what_is_forbidden_later_is_named_at_once(server: EmbeddedRedis, admin: redis.Redis, run_id: str) -> None:
    admin.execute_command("ACL", "SETUSER", "later", "reset", "on", ">secret", "~*", "+@all")
    address = server.url.rpartition("@")[2]
    streams = open_streams(f"redis://later:secret@{address}", run_id)
    consumer = Consumer(streams, PROMPTS, "a")
    admin.execute_command("ACL", "SETUSER", "later", "-xreadgroup")
    with pytest.raises(StreamError, match=f"XREADGROUP {streams.key(PROMPTS)}"):
        consumer.read(1, 0)
    admin.execute_command("ACL", "SETUSER", "later", "resetpass", ">changed")
    streams.client.connection_pool.disconnect()
    with pytest.raises(StreamError, match=r"XLEN .* or correct its password") as caught:
        streams.depth(PROMPTS)
    assert "secret" not in str(caught.value)


def test_a_finished_run_that_goes_on_keeps_its_streams(server: EmbeddedRedis, run_id: str) -> None:
    streams = open_streams(server.url, run_id)
    streams.vouch()
    streams.expire()
    streams.create()
    assert {streams.client.ttl(streams.key(name)) for name in (*CONSUMER_GROUPS, "counters")} == {-1}


def test_a_server_in_a_folder_with_any_name_keeps_its_data_port_and_password(tmp_path: Path, run_id: str) -> None:
    with EmbeddedRedis(tmp_path / 'it\'s "a" \\ folder') as server:
        url = server.url
        streams = open_streams(url, run_id)
        streams.publish(PROMPTS, [b"1"], counters={"admitted": 1}, deadline=1)
        assert server.keep_running() is None
        os.kill(server.pid, signal.SIGKILL)
        line = None
        while line is None:
            line = server.keep_running()
        assert "exit code -9" in line
        assert server.url == url
        assert (streams.messages(PROMPTS), streams.counters()) == ([b"1"], {"admitted": 1})


def test_a_server_whose_port_is_taken_meanwhile_comes_back_once_it_is_free(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        os.kill(server.pid, signal.SIGKILL)
        taken = _bind_when_free(port)
        assert server.keep_running() is None
        taken.close()
        assert server.keep_running() is not None


def _bind_when_free(port: int) -> socket.socket:
    end = time.monotonic() + LONG
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.01)
