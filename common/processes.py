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

    To put ours back afterwards would leave the signals of the meantime to the library.
    """
    set_handler = signal.signal

    def keep(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in _OURS else set_handler(number, handler)

    signal.signal = keep  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler
