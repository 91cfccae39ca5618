"""Buckets on a GPU that are broadcast from there, while the host's copy of them follows behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class DeviceBuckets:
    """Two buckets of memory on the current GPU, taken in turn; a stream of their own copies them to the host."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
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

    def when_copied(self, ready: Callable[[int], None]) -> None:
        """Call ``ready`` with the count of buckets that have been copied, as they are, from a thread."""

        def follow() -> None:
            for number, event in enumerate(self._copied):
                event.synchronize()
                ready(number + 1)

        threading.Thread(target=follow, name="weights-to-host", daemon=True).start()
