"""A lock with a version: weights never change under a reader, and no reader starts on weights too old for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FenceTimeoutError(TimeoutError):
    """Weights of the needed version did not arrive in time."""


class VersionFence:
    """Guards the weights of one worker. ``version`` is -1 until the first weights have been loaded.

    A waiting writer goes before new readers: one that reads step after step would otherwise never let it in.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy = False
        self._writers = 0
        self.version = -1

    @property
    def writer_waiting(self) -> bool:
        """Whether new weights wait for the current reader to finish."""
        return self._writers > 0

    @contextmanager
    def reading(self, min_version: int, deadline: float) -> Iterator[int]:
        """Keep the weights from changing, and yield their version; wait until it is at least ``min_version``.

        Raises FenceTimeoutError after ``deadline`` seconds.
        """
        with self._condition:
            ready = self._condition.wait_for(
                lambda: not self._busy and not self._writers and self.version >= min_version, timeout=deadline
            )
            if not ready:
                raise FenceTimeoutError(
                    f"waited {deadline:.0f} s for weights of version {min_version}; holding {self.version}"
                )
            self._busy = True
        try:
            yield self.version
        finally:
            self._release(self.version)

    @contextmanager
    def writing(
        self, version: int, deadline: float, unchanged: type[Exception] | tuple[()] = ()
    ) -> Iterator[None]:
        """Exclude readers while the weights become ``version``; if that fails, there is no version (-1).

        An exception of the kind ``unchanged`` says that nothing has been written: the version stays. Raises
        FenceTimeoutError where a reader keeps the weights for ``deadline`` seconds.
        """
        with self._condition:
            self._writers += 1
            ready = self._condition.wait_for(lambda: not self._busy, timeout=deadline)
            self._writers -= 1
            if not ready:
                self._condition.notify_all()
                raise FenceTimeoutError(f"a batch held the weights for more than {deadline:.0f} s")
            self._busy = True
        before, done = self.version, -1
        try:
            yield
            done = version
        except unchanged:
            done = before
            raise
        finally:
            self._release(done)

    def _release(self, version: int) -> None:
        with self._condition:
            self.version = version
            self._busy = False
            self._condition.notify_all()
