"""What processes owe each other: children that end with their parent, libraries that leave signals alone."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PR_SET_PDEATHSIG = 1
_OURS = (signal.SIGINT, signal.SIGTERM)
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For ``preexec_fn``: have the kernel kill this process when the thread that started it ends.

    Loaded libraries and a resolved symbol are all it touches, so it is safe between fork and exec.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Keep the handlers of SIGINT and SIGTERM while a library is called that would put its own in their place.

    Those that it sets in Python are never set: to put ours back afterwards would leave the signals of the meantime
    to the library. Those that it sets in C can only be replaced afterwards: Ray's calls ours, but aborts the
    process three seconds later (Abseil's failure handler, by SIGALRM), in the middle of a checkpoint if need be.
    """
    set_handler = signal.signal
    timer_runs = any(signal.getitimer(signal.ITIMER_REAL))

    def keep(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in _OURS else set_handler(number, handler)

    signal.signal = keep  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler
        for number in _OURS:
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)
        if not timer_runs:
            signal.alarm(0)
