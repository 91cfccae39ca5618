"""Ending work that nobody waits for any more, from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancellation:
    """Tells work that it is not wanted any more; thread-safe. It is asked for once and not taken back."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cancelled = False
        self._ends: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """End what is under way by what it gave for that, and have nothing more begin."""
        with self._lock:
            self._cancelled = True
            for end in self._ends:
                end()

    @contextmanager
    def ending_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Have ``end``, which must not wait, called where the work inside is cancelled; at once where it was."""
        with self._lock:
            self._ends.append(end)
            if self._cancelled:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)
