"""The time of a rank's phases, measured without waiting for its device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class PhaseClock:
    """Adds up seconds by phase.

    On a GPU, events in its stream mark where a phase begins and ends. Only :meth:`seconds` waits for them, so that
    the host can go ahead of the device from one micro-batch to the next.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._marked: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes, the work of the device included."""
        if self._on_gpu:
            began = _mark()
            yield
            self._marked.append((name, began, _mark()))
        else:
            started = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every phase so far, once the device is done with them."""
        for name, began, ended in self._marked:
            ended.synchronize()
            self._seconds[name] += began.elapsed_time(ended) / 1000.0
        self._marked.clear()
        return dict(self._seconds)


def _mark() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
