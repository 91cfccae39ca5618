"""A bounded queue that serves its owners in turn. Pure; one thread only."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class QueueFullError(RuntimeError):
    """No room now; there will be once what waits has been taken."""


class FairQueue(Generic[Item]):
    """Owners with items that wait take turns, one item each, so one with many never holds up one with few.

    ``capacity``: items that may wait, all owners together.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a queue needs room for at least one item")
        self.capacity = capacity
        self._depth = 0
        self._owners: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return self._depth

    def put(self, owner: Hashable, items: Iterable[Item]) -> None:
        """Add all of the items or, with an error, none. Raises QueueFullError."""
        new = deque(items)
        if self._depth + len(new) > self.capacity:
            raise QueueFullError(f"{self._depth} programs wait, of {self.capacity} that may; try again later")
        if new:
            self._owners.setdefault(owner, deque()).extend(new)
            self._depth += len(new)

    def take(self) -> Item | None:
        """Remove and return the next item of the owner whose turn it is; None when nothing waits."""
        if not self._owners:
            return None
        owner, items = self._owners.popitem(last=False)
        item = items.popleft()
        if items:
            self._owners[owner] = items
        self._depth -= 1
        return item

    def drop(self, owner: Hashable) -> int:
        """Remove what an owner has waiting; return how many items that were."""
        dropped = len(self._owners.pop(owner, ()))
        self._depth -= dropped
        return dropped
