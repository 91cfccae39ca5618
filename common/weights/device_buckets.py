"""Buckets on a GPU that are broadcast from there, while the host's copy of them follows behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

#: Between looks at whether a copy is done. CUDA's own wait for an event has no deadline.
_POLL_SECONDS = 0.001


class Copied(Protocol):
    """An event on a device: ``query`` says whether it has happened."""

    def query(self) -> bool: ...


class DeviceBuckets:
    """Two buckets of memory on the current GPU, taken in turn; a stream of their own copies them to the host.

    All copies have to be there ``deadline`` seconds after the last was begun.
    """

    def __init__(self, sizes: Sequence[int], deadline: float) -> None:
        self._sizes = sizes
        self._deadline = deadline
        self._memory = [torch.zeros(max(sizes), dtype=torch.uint8, device="cuda") for _ in range(2)]
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._copied: list[torch.cuda.Event] = []

    def of(self, number: int) -> Tensor:
        """Return the memory of a bucket; what fills it waits on the GPU until the last one there was copied."""
        if number >= len(self._memory):
            torch.cuda.current_stream().wait_event(self._copied[number - len(self._memory)])
        return self._memory[number % len(self._memory)][: self._sizes[number]]

    def copy(self, bucket: Tensor, target: Tensor) -> None:
        """Begin to copy the next bucket to memory of the host."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            target.copy_(bucket, non_blocking=True)
            self._copied.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._copied[-1].record(self._stream)

    def when_copied(self, ready: Callable[[int], None], give_up: Callable[[], None]) -> None:
        """Call ``ready`` with the count of buckets that have been copied, as they are, or ``give_up`` where copies
        fail or miss the deadline; both from a thread."""
        end = time.monotonic() + self._deadline
        threading.Thread(
            target=follow, args=(self._copied, ready, give_up, end), name="weights-to-host", daemon=True
        ).start()


def follow(
    copied: Sequence[Copied], ready: Callable[[int], None], give_up: Callable[[], None], end: float
) -> None:
    """Do what :meth:`DeviceBuckets.when_copied` says, until the monotonic time ``end``."""
    done = False
    try:
        for number, event in enumerate(copied):
            while not event.query():
                if time.monotonic() > end:
                    return
                time.sleep(_POLL_SECONDS)
            ready(number + 1)
        done = True
    finally:
        if not done:
            give_up()
