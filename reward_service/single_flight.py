"""Equal work is done once, however many ask for it at the same time or a little later."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Source = Literal["cached", "joined", "started"]


@dataclass
class Flight(Generic[T]):
    """A result that may still be on its way, and the number of those who wait for it."""

    key: bytes
    future: Future[T]
    waiting: int = 1


class SharedWork(Generic[T]):
    """Thread-safe. ``worth_keeping`` says which results are remembered: the last ``remembered`` used ones.

    ``on_wait`` is told for how many seconds a piece of work waited for a thread of ``pool``.
    """

    def __init__(
        self,
        pool: Executor,
        remembered: int,
        worth_keeping: Callable[[T], bool],
        on_wait: Callable[[float], None],
    ) -> None:
        self._pool = pool
        self._remembered = remembered
        self._worth_keeping = worth_keeping
        self._on_wait = on_wait
        self._results: OrderedDict[bytes, T] = OrderedDict()
        self._flights: dict[bytes, Flight[T]] = {}
        self._lock = threading.Lock()

    def ask(self, key: bytes, work: Callable[[], T]) -> tuple[Flight[T], Source]:
        """The result under ``key``, from memory, from work in progress or from ``work``; never waits.

        Whoever asks has to :meth:`leave` the flight when it no longer waits for it.
        """
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                done: Future[T] = Future()
                done.set_result(self._results[key])
                return Flight(key, done), "cached"
            flight = self._flights.get(key)
            if flight is not None:
                flight.waiting += 1
                return flight, "joined"
            asked = time.monotonic()
            future = self._pool.submit(lambda: self._do(key, work, asked))
            flight = self._flights[key] = Flight(key, future)
            return flight, "started"

    def leave(self, flight: Flight[T]) -> None:
        """Work that nobody waits for any more is not begun."""
        with self._lock:
            flight.waiting -= 1
            if not flight.waiting and flight.future.cancel() and self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    def _do(self, key: bytes, work: Callable[[], T], asked: float) -> T:
        self._on_wait(time.monotonic() - asked)
        try:
            result = work()
            if self._worth_keeping(result):
                self._remember(key, result)
            return result
        finally:
            with self._lock:
                del self._flights[key]

    def _remember(self, key: bytes, result: T) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > self._remembered:
                self._results.popitem(last=False)
