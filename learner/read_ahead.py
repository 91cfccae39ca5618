"""Reading ahead: what comes while the learner is at work is read and decoded beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")

_PAUSE_SECONDS = 0.1


class ReadAhead(Generic[_T]):
    """Calls ``read`` in a thread of its own, between :meth:`start` and :meth:`stop`, and keeps what it returns.

    ``read`` must not wait; nobody else may call what it calls meanwhile. It ends where ``read`` raises one of
    ``failures``, which whoever reads next meets again.
    """

    def __init__(self, read: Callable[[], Sequence[_T]], failures: tuple[type[Exception], ...]) -> None:
        self._read = read
        self._failures = failures
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._found: list[_T] = []

    def start(self) -> None:
        """Begin to read."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def stop(self) -> Sequence[_T]:
        """Wait for the end of the reading under way, if any; return all that was read since the last call."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        found, self._found = self._found, []
        return found

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_PAUSE_SECONDS):
                self._found += self._read()
        except self._failures:
            return
