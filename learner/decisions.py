"""What was decided on groups that will not be trained, kept in Redis until a checkpoint holds it.

A discarded group is acknowledged at once, so that any number of them can come between two checkpoints. A learner
that restarts from the last checkpoint finds here what it had decided since, and decides the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgpack

from common.streams import DECISIONS, Streams
from learner.collector import Discarded
from learner.progress import Outcome


class Decisions:
    """The discarded groups of a run that no checkpoint holds, in a hash by their index."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._client = streams.client
        self._call = streams.patience.call
        self._key = streams.key(DECISIONS)
        self._recorded: set[int] = set()

    def load(self) -> list[Discarded]:
        """Return all that is recorded, by index."""
        stored: Any = self._call(f"HGETALL {self._key}", lambda: self._client.hgetall(self._key))
        groups = {int(index): value for index, value in stored.items() if index.isdigit()}
        self._recorded = set(groups)
        return [Discarded(index, *_decode(groups[index])) for index in sorted(groups)]

    def record(self, discarded: Collection[Discarded]) -> bool:
        """Record groups, so that their messages may go; tell whether the server had memory for it."""
        fields = {str(one.index): msgpack.packb((one.task, one.outcome, one.reason)) for one in discarded}
        recorded = self._streams.set_if_room(DECISIONS, fields)
        if recorded:
            self._recorded |= {one.index for one in discarded}
        return recorded

    def forget(self) -> None:
        """Remove all of them: a checkpoint holds them."""
        if self._recorded:
            indices = [str(index) for index in self._recorded]
            self._call(f"HDEL {self._key}", lambda: self._client.hdel(self._key, *indices))
            self._recorded = set()


def _decode(value: bytes) -> tuple[str, Outcome, str]:
    task, outcome, reason = msgpack.unpackb(value)
    return task, Outcome(outcome), reason
