"""What was decided on groups that will not be trained, kept in Redis until a checkpoint holds it.

A discarded group is acknowledged at once, so that any number of them can come between two checkpoints. A learner
that restarts from the last checkpoint finds here what it had decided since, and decides the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack

from common.streams import Streams
from learner.collector import Discarded
from learner.progress import Outcome

#: The hash of these groups: index -> what is known of it.
DECISIONS = "decisions"


class Decisions:
    """The discarded groups of a run that no checkpoint holds."""

    def __init__(self, streams: Streams) -> None:
        self._client = streams.client
        self._key = streams.key(DECISIONS)
        self._recorded: dict[int, Discarded] = {}

    def load(self) -> list[Discarded]:
        """Return all that is recorded, by index."""
        stored: Any = self._client.hgetall(self._key)
        found = [Discarded(int(index), *_decode(value)) for index, value in stored.items()]
        self._recorded = {one.index: one for one in sorted(found)}
        return list(self._recorded.values())

    def record(self, discarded: Iterable[Discarded]) -> None:
        """Record groups; from now on their messages may go."""
        new = {one.index: one for one in discarded}
        if new:
            self._recorded |= new
            self._write(new.values())

    def restore(self) -> None:
        """Write all of them again, where Redis has lost its data."""
        if self._recorded:
            self._write(self._recorded.values())

    def forget(self) -> None:
        """Remove all of them: a checkpoint holds them."""
        if self._recorded:
            self._client.hdel(self._key, *(str(index) for index in self._recorded))
            self._recorded = {}

    def _write(self, discarded: Iterable[Discarded]) -> None:
        self._client.hset(self._key, mapping={str(one.index): msgpack.packb(one[1:]) for one in discarded})


def _decode(value: bytes) -> tuple[str, Outcome, str]:
    task, outcome, reason = msgpack.unpackb(value)
    return task, Outcome(outcome), reason
