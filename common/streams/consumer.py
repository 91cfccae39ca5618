"""A consumer of one stream: what it is given, and what it does with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import redis

from common.records import Record, RecordError, RolloutGroup, TrajectoryGroup
from common.streams.names import CONSUMER_GROUPS, DEAD_LETTERS, RECORD, result_stream
from common.streams.streams import Streams

R = TypeVar("R", bound=Record)
T = TypeVar("T")

_ORPHANS_LOOKED_AT = 100


@dataclass(frozen=True)
class Delivery:
    """One message as delivered to a consumer; ``attempt`` counts from 1."""

    id: bytes
    data: bytes
    attempt: int


class Consumer:
    """One named member of a stream's consumer group.

    Its operations wait for a server that is away, as its streams do. What was delivered to it into a reply that
    was lost comes first and alone once the server is back.
    """

    def __init__(self, streams: Streams, source: str, name: str) -> None:
        self._streams = streams
        self._client = streams.client
        self._patience = streams.patience
        self._key = streams.key(source)
        self._group = CONSUMER_GROUPS[source]
        self.name = name
        self._recovering = True
        self._in_work: set[bytes] = set()
        self._reply_lost = False
        self._failures_seen = streams.patience.failures
        self._away_in_work = False
        self._claims_from = 0.0

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
                    try:
                        self._client.xclaim(self._key, self._group, self.name, 0, ids, justid=True)
                    except redis.RedisError:
                        self._away_in_work = True

        keeper = threading.Thread(target=renew, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def read_more(self, count: int) -> list[Delivery]:
        """Return up to ``count`` new messages, without waiting and without any left over from a crash."""
        return self._call("XREADGROUP", lambda: self._read_new(count, 0.0))

    def read(self, count: int, wait: float) -> list[Delivery]:
        """Return up to ``count`` messages; wait ``wait`` seconds for the first. Empty when none came.

        A message that this consumer left unfinished before a restart, or that a dead neighbour did, comes first
        and alone.
        """

        def read() -> list[Delivery]:
            self._look_for_failures()
            return self._claim_one() or self._read_new(count, wait)

        return self._call("XREADGROUP", read)

    def read_pending(self) -> list[Delivery]:
        """Return all that this consumer was given and has not acknowledged, oldest first."""
        self._recovering = False

        def read() -> list[Delivery]:
            reply: Any = self._client.xreadgroup(self._group, self.name, {self._key: "0"})
            return self._delivered(_deliveries(reply))

        return self._call("XREADGROUP", read)

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
        self._move(cause, target, {RECORD: result.encode()})

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move a message to the dead-letter stream with the reason."""
        fields = {RECORD: delivery.data, b"reason": reason.encode(), b"source": self._key.encode()}
        self._move(delivery, DEAD_LETTERS, fields)

    def acknowledge(self, ids: Iterable[bytes]) -> None:
        """Mark messages as durably handled and free them."""
        done = list(ids)
        if not done:
            return

        def acknowledge() -> None:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.xack(self._key, self._group, *done)
                transaction.xdel(self._key, *done)
                transaction.execute()

        self._call("XACK", acknowledge)
        self._in_work.difference_update(done)

    def _move(self, delivery: Delivery, target: str, fields: dict[Any, Any]) -> None:
        """Append ``fields`` to the target stream and acknowledge the delivery, in one transaction."""
        key = self._streams.key(target)

        def move() -> None:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.xadd(key, fields)
                transaction.xack(self._key, self._group, delivery.id)
                transaction.xdel(self._key, delivery.id)
                transaction.execute()

        def moved() -> bool:
            """Tell whether the delivery is gone, with its stream or because it was moved.

            In the former case the run's main process sees that its group is missing.
            """
            return not self._client.xrange(self._key, delivery.id, delivery.id)

        self._patience.once(f"XADD {key}", move, moved)
        self._in_work.discard(delivery.id)

    def _read_new(self, count: int, wait: float) -> list[Delivery]:
        block = max(1, int(wait * 1000))
        reply: Any = self._client.xreadgroup(
            self._group, self.name, {self._key: ">"}, count=count, block=block if wait > 0 else None
        )
        return self._delivered(_deliveries(reply))

    def _claim_one(self) -> list[Delivery]:
        if self._recovering or self._reply_lost:
            own: Any = self._client.xpending_range(
                self._key, self._group, min="-", max="+", count=len(self._in_work) + 1, consumername=self.name
            )
            unknown = [pending for pending in own if pending["message_id"] not in self._in_work]
            if unknown:
                return self._claim(unknown[0], count=not self._reply_lost)
            self._recovering = self._reply_lost = False
        if time.monotonic() < self._claims_from:
            return []
        idle_ms = int(self._streams.config.claim_seconds * 1000)
        orphaned: Any = self._client.xpending_range(
            self._key, self._group, min="-", max="+", count=_ORPHANS_LOOKED_AT, idle=idle_ms
        )
        # What this consumer holds may be in work: the learner keeps groups until a checkpoint contains them. If it
        # is not, a server that was set back has brought it back, perhaps without the result of its work.
        left = (
            pending
            for pending in orphaned
            if pending["consumer"] != self.name.encode() or pending["message_id"] not in self._in_work
        )
        return next((self._claim(pending, idle_ms=idle_ms) for pending in left), [])

    def _look_for_failures(self) -> None:
        """After an operation that failed, look for messages in lost replies, and leave those of others alone.

        Nobody could show for a while that they are in work.
        """
        if self._patience.failures != self._failures_seen or self._away_in_work:
            self._failures_seen, self._away_in_work = self._patience.failures, False
            self._reply_lost = True
            self._claims_from = time.monotonic() + self._streams.config.claim_seconds

    def _claim(self, pending: Mapping[str, Any], count: bool = True, idle_ms: int = 0) -> list[Delivery]:
        """Take a pending message over, as another attempt if it is to ``count`` as one."""
        attempt = int(pending["times_delivered"]) + count
        ids = [pending["message_id"]]
        entries: Any = self._client.xclaim(self._key, self._group, self.name, idle_ms, ids, retrycount=attempt)
        return self._delivered(
            [Delivery(entry_id, fields[RECORD], attempt) for entry_id, fields in entries if fields]
        )

    def _delivered(self, deliveries: list[Delivery]) -> list[Delivery]:
        self._in_work.update(delivery.id for delivery in deliveries)
        return deliveries

    def _call(self, command: str, operation: Callable[[], T]) -> T:
        return self._patience.call(f"{command} {self._key}", operation)


def _deliveries(reply: Any) -> list[Delivery]:
    """Flatten XREADGROUP's reply, which is a list of pairs or, under RESP3, a map."""
    streams = reply.items() if isinstance(reply, dict) else (reply or [])
    found = []
    for _, entries in streams:
        batches = entries if entries and isinstance(entries[0], list) else [entries]
        for batch in batches:
            found += [Delivery(entry_id, fields[RECORD], 1) for entry_id, fields in batch if fields]
    return found
