"""A single-flight cache: equal work is done once, however many ask for it at the same time or a little later."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from sandbox.cancellation import Cancellation

T = TypeVar("T")
Origin = Literal["cached", "joined", "started"]
#: Callers grant what is left to them, which is never quite the same.
_ABOUT = 0.9


@dataclass
class Pending(Generic[T]):
    """A result that may still be on its way, and the number of callers who wait for it.

    ``seconds``: that it may take. ``began``: when it was begun, on the monotonic clock; None while it waits for a
    thread. ``cancellation``: ends it once nobody waits.
    """

    key: bytes
    future: Future[T]
    seconds: float
    waiting: int = 1
    began: float | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)


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

    def get(
        self, key: bytes, compute: Callable[[Cancellation], T], seconds: float = math.inf
    ) -> tuple[Pending[T], Origin]:
        """Return the result under ``key``: a remembered one, one under way, or that of ``compute``; never waits.

        One under way is not joined if it may take clearly fewer ``seconds`` than this caller grants. The caller
        must :meth:`release` what it got when it no longer waits.
        """
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                done: Future[T] = Future()
                done.set_result(self._results[key])
                return Pending(key, done, seconds), "cached"
            pending = self._pending.get(key)
            if pending is not None and pending.seconds >= _ABOUT * seconds:
                pending.waiting += 1
                return pending, "joined"
            pending = Pending(key, Future(), seconds)
            pending.future = self._pool.submit(self._compute, pending, compute, time.monotonic())
            self._pending[key] = pending
            return pending, "started"

    def release(self, pending: Pending[T]) -> None:
        """Stop waiting. A computation that nobody waits for any more is not begun, or is cancelled."""
        with self._lock:
            pending.waiting -= 1
            if pending.waiting or pending.future.done():
                return
            self._forget(pending)
            pending.future.cancel()
        pending.cancellation.cancel()

    def _compute(self, pending: Pending[T], compute: Callable[[Cancellation], T], asked: float) -> T:
        pending.began = time.monotonic()
        self._on_wait(pending.began - asked)
        try:
            result = compute(pending.cancellation)
            if self._keep(result):
                self._remember(pending.key, result)
            return result
        finally:
            with self._lock:
                self._forget(pending)

    def _forget(self, pending: Pending[T]) -> None:
        if self._pending.get(pending.key) is pending:
            del self._pending[pending.key]

    def _remember(self, key: bytes, result: T) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > self._capacity:
                self._results.popitem(last=False)
