"""A single-flight cache: equal work is done once, however many ask for it at the same time or a little later."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Origin = Literal["cached", "joined", "started"]


@dataclass
class Pending(Generic[T]):
    """A result that may still be on its way, and the number of callers who wait for it."""

    key: bytes
    future: Future[T]
    waiting: int = 1


class SingleFlightCache(Generic[T]):
    """Remembers results, and joins callers who ask for one that is being computed; thread-safe.

    ``keep`` says which results are remembered: the last ``capacity`` used ones. ``on_wait`` is told for how many
    seconds a computation waited for a thread of ``pool``.
    """

    def __init__(
        self, pool: Executor, capacity: int, keep: Callable[[T], bool], on_wait: Callable[[float], None]
    ) -> None:
        self._pool = pool
        self._capacity = capacity
        self._keep = keep
        self._on_wait = on_wait
        self._results: OrderedDict[bytes, T] = OrderedDict()
        self._pending: dict[bytes, Pending[T]] = {}
        self._lock = threading.Lock()

    def get(self, key: bytes, compute: Callable[[], T]) -> tuple[Pending[T], Origin]:
        """Return the result under ``key``: a remembered one, one under way, or that of ``compute``; never waits.

        The caller must :meth:`release` it when it no longer waits.
        """
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                done: Future[T] = Future()
                done.set_result(self._results[key])
                return Pending(key, done), "cached"
            pending = self._pending.get(key)
            if pending is not None:
                pending.waiting += 1
                return pending, "joined"
            asked = time.monotonic()
            future = self._pool.submit(lambda: self._compute(key, compute, asked))
            pending = self._pending[key] = Pending(key, future)
            return pending, "started"

    def release(self, pending: Pending[T]) -> None:
        """Stop waiting. A computation that nobody waits for any more is not begun."""
        with self._lock:
            pending.waiting -= 1
            if not pending.waiting and pending.future.cancel() and self._pending.get(pending.key) is pending:
                del self._pending[pending.key]

    def _compute(self, key: bytes, compute: Callable[[], T], asked: float) -> T:
        self._on_wait(time.monotonic() - asked)
        try:
            result = compute()
            if self._keep(result):
                self._remember(key, result)
            return result
        finally:
            with self._lock:
                del self._pending[key]

    def _remember(self, key: bytes, result: T) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > self._capacity:
                self._results.popitem(last=False)
