"""The loop of a process that reads hostile input for another, and the bounds that it works under."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

#: Of a process, all its address space.
MEMORY_BYTES = 1 << 30
#: Follows the last part of an answer.
END = b""


def serve(connection: Connection, answer: Callable[[bytes], Iterable[bytes]]) -> None:
    """Answer questions in parts, none of them empty, until the other side closes the connection."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while True:
        try:
            asked = connection.recv_bytes()
        except EOFError:
            return
        for part in answer(asked):
            connection.send_bytes(part)
        connection.send_bytes(END)


@contextmanager
def cpu_bounded(seconds: float) -> Iterator[None]:
    """End this process by SIGPROF after so much CPU time inside, also in the middle of a call of C."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
