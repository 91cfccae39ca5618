"""What an update adds up while it goes: sums on the device, seconds on the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


class Tally:
    """Sums under fixed names, which all ranks add up in :meth:`reduce`, and the seconds of phases of this rank."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = {name: number for number, name in enumerate(names)}
        self._sums = torch.zeros(len(names), dtype=torch.float64, device=device)
        self.seconds: dict[str, float] = {}

    def add(self, name: str, value: Tensor | float) -> None:
        self._sums[self._names[name]] += value

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._sums.is_cuda:
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def reduce(self) -> dict[str, float]:
        """The sums over all ranks; a collective call."""
        dist.all_reduce(self._sums)
        return dict(zip(self._names, self._sums.tolist(), strict=True))
