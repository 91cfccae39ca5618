"""Ctrl-C and SIGTERM: at once before anything is started, then as a request, which the run loop answers.

Raising from the signal handler would break into whatever runs, a Redis transaction or Ray's own code included.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user (SIGINT), ``ray job stop`` or an eviction (SIGTERM) asked the run to stop.

    No Exception: while libraries are imported, some of them try this and that and go on after any.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Have signals raise :class:`Interrupted` wherever the program is within the context."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Note signals within the context, for :meth:`check` to raise; a second signal acts at once.

    ``noted`` is called as soon as the first one comes, wherever the program is then.
    """

    def __init__(self, noted: Callable[[], None] = lambda: None) -> None:
        self._noted = noted
        self._number = 0
        self._answered = False
        self._previous: dict[signal.Signals, object] = {}

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal has come."""
        if self._number:
            raise Interrupted(self._number)

    def answer(self) -> None:
        """Begin to answer the request: :meth:`check` raises no more."""
        self._number = 0
        self._answered = True

    def request(self, number: int) -> None:
        """Ask as the signal ``number`` does, unless a request is being answered already."""
        if not self._answered:
            self._number = number

    def install(self) -> None:
        """Take the signals over."""
        for number in _SIGNALS:
            previous = signal.signal(number, self._note)
            self._previous.setdefault(number, previous)

    def __enter__(self) -> StopRequest:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._noted()
