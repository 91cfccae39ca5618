"""Redis Streams between the processes of a run.

    prompts --> rollout workers --> rollouts --> reward workers --> trajectories --> learner

Every stream is read through a consumer group. A message is acknowledged when its effect is durable: publishing a
result and acknowledging its cause is one transaction, so a crash on either side of it neither loses nor doubles a
message. Acknowledged messages are deleted, so a stream's length is its backlog, and a full stream makes its
producer wait instead of trimming.

A message whose consumer died is claimed again, one at a time, so that a message that kills its consumers is told
apart from its neighbours; after ``deliveries`` attempts its consumer gives it up. Bytes that are no record of the
stream's kind go to the dead-letter stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from common.config import StreamsConfig, without_password
from common.errors import UserError
from common.records import Purpose, Record, RecordError, RolloutGroup, TrajectoryGroup

R = TypeVar("R", bound=Record)

PROMPTS = "prompts"
ROLLOUTS = "rollouts"
TRAJECTORIES = "trajectories"
EVALUATIONS = "evaluations"
DEAD_LETTERS = "dead-letters"

#: Stream -> the one consumer group that reads it.
CONSUMER_GROUPS = {
    PROMPTS: "rollout-workers",
    ROLLOUTS: "reward-workers",
    TRAJECTORIES: "learner",
    EVALUATIONS: "orchestrator",
}

_FIELD = b"record"
_KEPT_AFTER_RUN_SECONDS = 24 * 3600
_ORPHANS_LOOKED_AT = 100


def result_stream(result: RolloutGroup | TrajectoryGroup) -> str:
    """Name the stream that takes a worker's result: scored evaluation groups do not go to the learner."""
    if isinstance(result, RolloutGroup):
        return ROLLOUTS
    return TRAJECTORIES if result.prompt.purpose is Purpose.TRAIN else EVALUATIONS


class StreamError(UserError, RuntimeError):
    """Redis cannot be used: not reachable, wrong address, or refused."""


class StreamFullError(StreamError):
    """A full stream was not drained before the producer's deadline."""


@dataclass(frozen=True)
class Delivery:
    """One message as delivered to a consumer; ``attempt`` counts from 1."""

    id: bytes
    data: bytes
    attempt: int


@dataclass(frozen=True)
class Backlog:
    """Counts of a stream: messages not acknowledged, those of them with a consumer, and all ever delivered.

    The last two are None for a stream that nobody consumes.
    """

    messages: int
    pending: int | None = None
    delivered: int | None = None


def connect(url: str, timeout: float = 30.0) -> redis.Redis:
    """Connect to the server at ``url``. Raises :class:`StreamError` where no server answers."""
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=5.0,
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=4),
            retry_on_error=[redis.ConnectionError],
        )
        client.ping()
    except ValueError as error:
        raise StreamError(f"streams.url: not a Redis address: {error}") from error
    except redis.RedisError as error:
        raise StreamError(
            f"streams.url {without_password(url)}: no Redis answers ({error}); start one, correct the address, "
            "or use 'embedded'"
        ) from error
    return client


class Streams:
    """The streams and the few counters of one run, under the key prefix ``couplet:<run id>:``."""

    def __init__(self, client: redis.Redis, run_id: str, config: StreamsConfig) -> None:
        self.client = client
        self.config = config
        self._prefix = f"couplet:{run_id}:"

    def key(self, name: str) -> str:
        return self._prefix + name

    def create(self) -> None:
        """Create the streams and their consumer groups; keep those that exist."""
        for name, group in CONSUMER_GROUPS.items():
            try:
                self.client.xgroup_create(self.key(name), group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def depth(self, name: str) -> int:
        """Count the messages of the stream that are not yet acknowledged."""
        return int(self.client.xlen(self.key(name)))

    def publish(
        self,
        name: str,
        records: Sequence[bytes],
        *,
        counters: dict[Any, Any] | None = None,
        deadline: float,
    ) -> None:
        """Append records, and set counters, in one transaction.

        Waits while the stream is full. Raises :class:`StreamFullError` after ``deadline`` seconds.
        """
        self.wait_for_room(name, deadline)
        with self.client.pipeline(transaction=True) as transaction:
            for data in records:
                transaction.xadd(self.key(name), {_FIELD: data})
            if counters:
                transaction.hset(self.key("counters"), mapping=counters)
            transaction.execute()

    def set_counters(self, counters: dict[Any, Any]) -> None:
        self.client.hset(self.key("counters"), mapping=counters)

    def counters(self) -> dict[str, int]:
        stored: Any = self.client.hgetall(self.key("counters"))
        return {name.decode(): int(value) for name, value in stored.items()}

    def has_backlog(self) -> bool:
        """Tell whether any training message is still on its way."""
        return any(self.depth(name) for name in (PROMPTS, ROLLOUTS, TRAJECTORIES))

    def backlogs(self) -> dict[str, Backlog]:
        """Count the messages of every stream of the run, in one round trip. Raises redis.RedisError."""
        names = (*CONSUMER_GROUPS, DEAD_LETTERS)
        with self.client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.xlen(self.key(name))
            for name in CONSUMER_GROUPS:
                pipeline.xinfo_groups(self.key(name))
            replies = pipeline.execute(raise_on_error=False)
        lengths, consumers = replies[: len(names)], replies[len(names) :]
        for length in lengths:
            if isinstance(length, redis.RedisError):  # a server that is still loading its data answers so
                raise length
        found = {name: Backlog(length) for name, length in zip(names, lengths, strict=True)}
        for name, groups in zip(CONSUMER_GROUPS, consumers, strict=True):
            if isinstance(groups, list):  # else there is no such stream yet
                for group in groups:
                    found[name] = Backlog(found[name].messages, group["pending"], group["entries-read"])
        return found

    def messages(self, name: str) -> list[bytes]:
        """Return every unacknowledged message of a stream; for tests and diagnosis."""
        entries: Any = self.client.xrange(self.key(name))
        return [fields[_FIELD] for _, fields in entries]

    def expire(self) -> None:
        """Set the run's keys to expire in a day; for a run that has finished."""
        for name in (*CONSUMER_GROUPS, DEAD_LETTERS, "counters"):
            self.client.expire(self.key(name), _KEPT_AFTER_RUN_SECONDS)

    def wait_for_room(self, name: str, deadline: float) -> None:
        """Wait until the stream has room. Raises :class:`StreamFullError` after ``deadline`` seconds."""
        end = time.monotonic() + deadline
        while self.depth(name) >= self.config.capacity:
            if time.monotonic() > end:
                raise StreamFullError(
                    f"stream {name} stayed full ({self.config.capacity} messages) for {deadline:.0f} s: "
                    "its consumers are dead or too slow"
                )
            time.sleep(0.05)


class Consumer:
    """One named member of a stream's consumer group."""

    def __init__(self, streams: Streams, source: str, name: str) -> None:
        self._streams = streams
        self._client = streams.client
        self._key = streams.key(source)
        self._group = CONSUMER_GROUPS[source]
        self.name = name
        self._recovering = True

    @contextmanager
    def holding(self, deliveries: Collection[Delivery]) -> Iterator[None]:
        """While the context lasts, show Redis that these messages are being worked on, however long it takes.

        The collection may change meanwhile.
        """
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._streams.config.claim_seconds / 3):
                ids: Any = [delivery.id for delivery in tuple(deliveries)]
                if ids:
                    self._client.xclaim(self._key, self._group, self.name, 0, ids, justid=True)

        keeper = threading.Thread(target=renew, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def read_more(self, count: int) -> list[Delivery]:
        """Return up to ``count`` new messages, without waiting and without any left over from a crash."""
        return self._read_new(count, 0.0)

    def read(self, count: int, wait: float) -> list[Delivery]:
        """Return up to ``count`` messages; wait ``wait`` seconds for the first. Empty when none came.

        A message that this consumer left unfinished before a restart, or that a dead neighbour did, comes first
        and alone.
        """
        left_over = self._claim_one()
        if left_over:
            return left_over
        return self._read_new(count, wait)

    def read_pending(self) -> list[Delivery]:
        """Return all that this consumer was given and has not acknowledged, oldest first."""
        self._recovering = False
        reply: Any = self._client.xreadgroup(self._group, self.name, {self._key: "0"})
        return _deliveries(reply)

    def decode(self, kind: type[R], deliveries: Iterable[Delivery]) -> Iterator[tuple[Delivery, R]]:
        """Yield each delivery with its record; move to the dead-letter stream what is no record of ``kind``."""
        for delivery in deliveries:
            try:
                record = kind.decode(delivery.data)
            except RecordError as error:
                self.dead_letter(delivery, str(error))
                continue
            yield delivery, record

    def publish_and_acknowledge(
        self, cause: Delivery, result: RolloutGroup | TrajectoryGroup, deadline: float
    ) -> None:
        """Publish a result to its stream and acknowledge its cause, in one transaction.

        Waits while the stream is full. Raises :class:`StreamFullError` after ``deadline`` seconds.
        """
        target = result_stream(result)
        self._streams.wait_for_room(target, deadline)
        self._move(cause, target, {_FIELD: result.encode()})

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move a message to the dead-letter stream with the reason."""
        fields = {_FIELD: delivery.data, b"reason": reason.encode(), b"source": self._key.encode()}
        self._move(delivery, DEAD_LETTERS, fields)

    def acknowledge(self, ids: Iterable[bytes]) -> None:
        """Mark messages as durably handled and free them."""
        done = list(ids)
        if not done:
            return
        with self._client.pipeline(transaction=True) as transaction:
            transaction.xack(self._key, self._group, *done)
            transaction.xdel(self._key, *done)
            transaction.execute()

    def _move(self, delivery: Delivery, target: str, fields: dict[Any, Any]) -> None:
        """Append ``fields`` to the target stream and acknowledge the delivery, in one transaction."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.xadd(self._streams.key(target), fields)
            transaction.xack(self._key, self._group, delivery.id)
            transaction.xdel(self._key, delivery.id)
            transaction.execute()

    def _read_new(self, count: int, wait: float) -> list[Delivery]:
        block = max(1, int(wait * 1000))
        reply: Any = self._client.xreadgroup(
            self._group, self.name, {self._key: ">"}, count=count, block=block if wait > 0 else None
        )
        return _deliveries(reply)

    def _claim_one(self) -> list[Delivery]:
        if self._recovering:
            own: Any = self._client.xpending_range(
                self._key, self._group, min="-", max="+", count=1, consumername=self.name
            )
            if own:
                return self._claim(own[0])
            self._recovering = False
        idle_ms = int(self._streams.config.claim_seconds * 1000)
        orphaned: Any = self._client.xpending_range(
            self._key, self._group, min="-", max="+", count=_ORPHANS_LOOKED_AT, idle=idle_ms
        )
        # What this consumer holds itself is in work: the learner keeps groups until a checkpoint contains them.
        others = (pending for pending in orphaned if pending["consumer"] != self.name.encode())
        return next((self._claim(pending, idle_ms) for pending in others), [])

    def _claim(self, pending: Mapping[str, Any], idle_ms: int = 0) -> list[Delivery]:
        attempt = int(pending["times_delivered"]) + 1
        entries: Any = self._client.xclaim(self._key, self._group, self.name, idle_ms, [pending["message_id"]])
        return [Delivery(entry_id, fields[_FIELD], attempt) for entry_id, fields in entries if fields]


def _deliveries(reply: Any) -> list[Delivery]:
    """Flatten XREADGROUP's reply, which is a list of pairs or, under RESP3, a map."""
    streams = reply.items() if isinstance(reply, dict) else (reply or [])
    found = []
    for _, entries in streams:
        batches = entries if entries and isinstance(entries[0], list) else [entries]
        for batch in batches:
            found += [Delivery(entry_id, fields[_FIELD], 1) for entry_id, fields in batch if fields]
    return found
