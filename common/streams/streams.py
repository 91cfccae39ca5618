"""The streams of a run, as its main process and its diagnosis see them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import redis

from common.config import StreamsConfig
from common.streams.connection import StreamError
from common.streams.names import (
    CONSUMER_GROUPS,
    COUNTERS,
    DEAD_LETTERS,
    HASHES,
    RECORD,
)
from common.streams.patience import Deadline, Patience

T = TypeVar("T")

_KEPT_AFTER_RUN_SECONDS = 24 * 3600
_PAGE = 64
#: Fields of the counters' hash that count nothing begin with this.
_HIDDEN = b":"
#: Set by the run's main process once all data is there: where it is missing, data was lost.
_WHOLE = b":whole"
#: The number of the main process's last publication, by which it sees whether one whose reply was lost took place.
_RECEIPT = b":receipt"
#: Set to see whether the server takes writes.
_WRITTEN = b":written"


class StreamFullError(StreamError):
    """A full stream was not drained before the producer's deadline."""


@dataclass(frozen=True)
class Backlog:
    """Counts of a stream: messages not acknowledged, those of them with a consumer, and all ever delivered.

    The last two are None for a stream that nobody consumes.
    """

    messages: int
    pending: int | None = None
    delivered: int | None = None


class Streams:
    """The streams and the few counters of one run, under the key prefix ``couplet:<run id>:``.

    Operations wait for a server that is away as long as ``patience`` says, by default not at all.
    """

    def __init__(
        self, client: redis.Redis, run_id: str, config: StreamsConfig, patience: Patience | None = None
    ) -> None:
        self.client = client
        self.config = config
        self.patience = patience or Patience()
        #: How often :meth:`renew` was called. Who waits for messages of before has to send for them again.
        self.renewals = 0
        self._prefix = f"couplet:{run_id}:"

    def key(self, name: str) -> str:
        return self._prefix + name

    def deadline(self, seconds: float) -> Deadline:
        """Return a deadline ``seconds`` from now, against which outages of Redis do not count."""
        return Deadline(seconds, self.patience)

    def create(self) -> None:
        """Create the streams and their consumer groups; keep those that exist, for good."""
        for name, group in CONSUMER_GROUPS.items():
            self._call("XGROUP", name, partial(self._create_group, self.key(name), group))
        for name in (*CONSUMER_GROUPS, DEAD_LETTERS, *HASHES):  # an earlier attempt may have finished
            self._call("PERSIST", name, partial(self.client.persist, self.key(name)))

    def renew(self) -> None:
        """Create again what data that was lost has taken along."""
        self.create()
        self.renewals += 1

    def vouch(self) -> None:
        """Note that the data of the run is all there. From now on :meth:`whole` tells when some is lost."""
        self._call("HSET", COUNTERS, lambda: self.client.hset(self.key(COUNTERS), _WHOLE, "1"))

    def mend(self) -> None:
        """Create the streams and consumer groups that are gone, so that no consumer waits for them.

        Where all are there this writes nothing, which a server whose memory is full would not take. What they have
        lost, :meth:`whole` tells all the same.
        """
        if not self._look()[1]:
            self.create()

    def make_while_waiting(self) -> None:
        """Have an operation that waits for streams which are gone make them itself: for the run's main process.

        Nobody else would, and it waits. What they have lost, :meth:`whole` tells all the same.
        """

        def make() -> None:
            if self.patience.lacks_streams:
                with suppress(redis.RedisError):  # the operation that waits meets it too
                    for name, group in CONSUMER_GROUPS.items():
                        self._create_group(self.key(name), group)

        self.patience.also(make)

    def whole(self) -> bool:
        """Tell whether nothing was lost since :meth:`vouch`: emptied, evicted, or a new server in its place."""
        return all(self._look())

    def _look(self) -> tuple[bool, bool]:
        """Tell whether the data was vouched for and is still there, and whether all consumer groups are."""

        def look() -> tuple[bool, bool]:
            with self.client.pipeline(transaction=False) as pipeline:
                pipeline.hexists(self.key(COUNTERS), _WHOLE)
                for name in CONSUMER_GROUPS:
                    pipeline.xinfo_groups(self.key(name))
                vouched, *found = pipeline.execute(raise_on_error=False)
            for reply in (vouched, *found):
                if isinstance(reply, redis.RedisError) and "no such key" not in str(reply):
                    raise reply
            return bool(vouched), all(isinstance(groups, list) and groups for groups in found)

        return self.patience.call(f"XINFO {self._prefix}*", look)

    def try_write(self) -> None:
        """Write something, and do not wait where that is not possible: it is noted, and ends patience in time.

        A server that answers may take no writes, which others wait for.
        """
        key = self.key(COUNTERS)
        self.patience.attempt(f"HSET {key}", lambda: self.client.hset(key, _WRITTEN, "1"))

    def server(self) -> str:
        """Return what names the process of the server, another one after each restart."""
        info: Any = self.patience.call("INFO server", lambda: self.client.info("server"))
        return str(info["run_id"])

    def depth(self, name: str) -> int:
        """Count the messages of the stream that are not yet acknowledged."""
        length: Any = self._call("XLEN", name, lambda: self.client.xlen(self.key(name)))
        return int(length)

    def publish(
        self,
        name: str,
        records: Sequence[bytes],
        *,
        counters: dict[Any, Any] | None = None,
        deadline: float,
    ) -> None:
        """Append records, and set counters, in one transaction. For the run's main process alone.

        Waits while the stream is full. Raises :class:`StreamFullError` after ``deadline`` seconds.
        """
        self.wait_for_room(name, deadline)
        key, receipt = self.key(name), str(secrets.randbits(63))

        def append() -> None:
            with self.client.pipeline(transaction=True) as transaction:
                for data in records:
                    transaction.xadd(key, {RECORD: data})
                transaction.hset(self.key(COUNTERS), mapping={_RECEIPT: receipt, **(counters or {})})
                transaction.execute()

        def happened() -> bool:
            found: Any = self.client.hget(self.key(COUNTERS), _RECEIPT)
            return bool(found == receipt.encode())

        self.patience.once(f"XADD {key}", append, happened)

    def set_counters(self, counters: dict[Any, Any]) -> None:
        self._call("HSET", COUNTERS, lambda: self.client.hset(self.key(COUNTERS), mapping=counters))

    def restore_counters(self, counters: dict[str, int]) -> None:
        """Set those of the counters that are missing, or were set back with data that was lost."""
        found = self.counters()
        lost = {name: value for name, value in counters.items() if found.get(name, -1) < value}
        if lost:
            self.set_counters(lost)

    def report(self, counters: dict[Any, Any]) -> bool:
        """Set counters as :meth:`set_if_room` does."""
        return self.set_if_room(COUNTERS, counters)

    def set_if_room(self, name: str, fields: dict[Any, Any]) -> bool:
        """Set fields of a hash, unless the server has no memory for them now; tell whether it had.

        For a consumer, whose acknowledgements are what frees memory.
        """

        def write() -> bool:
            try:
                self.client.hset(self.key(name), mapping=fields)
            except redis.exceptions.OutOfMemoryError:
                return False
            return True

        return self._call("HSET", name, write)

    def counters(self) -> dict[str, int]:
        stored: Any = self._call("HGETALL", COUNTERS, lambda: self.client.hgetall(self.key(COUNTERS)))
        return {name.decode(): int(value) for name, value in stored.items() if not name.startswith(_HIDDEN)}

    def backlogs(self) -> dict[str, Backlog]:
        """Count the messages of every stream of the run, in one round trip, at once. Raises redis.RedisError."""
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
        return list(self.scan(name))

    def scan(self, name: str) -> Iterator[bytes]:
        """Yield every unacknowledged message of a stream, those in work included, oldest first."""
        for entries in self._pages(name):
            yield from (fields[RECORD] for _, fields in entries)

    def remove(self, name: str, unwanted: Callable[[bytes], bool]) -> None:
        """Delete the messages that are ``unwanted``, delivered or not."""
        for entries in self._pages(name):
            ids = [entry for entry, fields in entries if unwanted(fields[RECORD])]
            if ids:
                self._call("XDEL", name, partial(self.client.xdel, self.key(name), *ids))

    def empty(self) -> None:
        """Delete the streams and the counters."""
        keys = [self.key(name) for name in (*CONSUMER_GROUPS, *HASHES)]
        self.patience.call(f"DEL {' '.join(keys)}", lambda: self.client.delete(*keys))

    def expire(self) -> None:
        """Set the run's keys to expire in a day; for a run that has finished."""
        for name in (*CONSUMER_GROUPS, DEAD_LETTERS, *HASHES):
            self._call("EXPIRE", name, partial(self.client.expire, self.key(name), _KEPT_AFTER_RUN_SECONDS))

    def wait_for_room(self, name: str, deadline: float) -> None:
        """Wait until the stream has room. Raises :class:`StreamFullError` after ``deadline`` seconds."""
        end = self.deadline(deadline)
        while self.depth(name) >= self.config.capacity:
            if end.passed:
                raise StreamFullError(
                    f"stream {name} stayed full ({self.config.capacity} messages) for {deadline:.0f} s: "
                    "its consumers are dead or too slow"
                )
            time.sleep(0.05)

    def _pages(self, name: str) -> Iterator[Any]:
        """Yield the messages of a stream, some at a time, each with its id and its fields."""
        key, start = self.key(name), "-"
        while True:
            entries: Any = self._call("XRANGE", name, partial(self.client.xrange, key, start, count=_PAGE))
            yield entries
            if len(entries) < _PAGE:
                return
            start = f"({entries[-1][0].decode()}"

    def _call(self, command: str, name: str, operation: Callable[[], T]) -> T:
        return self.patience.call(f"{command} {self.key(name)}", operation)

    def _create_group(self, key: str, group: str) -> None:
        try:
            self.client.xgroup_create(key, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
