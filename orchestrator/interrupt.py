"""SIGTERM as an exception, so that what was started is stopped the same way as on Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """SIGTERM (``ray job stop``, an eviction) asked the run to stop."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the context, SIGTERM raises :class:`Interrupted` in the main thread."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
