"""What processes that compute at the same time cost each other on this machine: the ceiling of any overlap."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch.nn.functional import gelu

_ROWS, _HIDDEN, _WIDE = 1700, 128, 512  # about the body of the quick start on one batch
_PASSES, _REPEATS = 60, 5


def slowdown(processes: int) -> float:
    """Return how many times as long work takes in each of ``processes`` at once as in one alone; medians of 5."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in range(2):  # until all of them have started and are warm
            list(pool.map(_work, range(processes)))
        alone = [pool.submit(_work, 0).result() for _ in range(_REPEATS)]
        together = [statistics.fmean(pool.map(_work, range(processes))) for _ in range(_REPEATS)]
    return statistics.median(together) / statistics.median(alone)


def _work(_: int) -> float:
    """Return the seconds of some forward and backward passes of one thread."""
    torch.set_num_threads(1)
    rows = torch.ones(_ROWS, _HIDDEN)
    up, down = torch.full((_HIDDEN, _WIDE), 0.01, requires_grad=True), torch.full((_WIDE, _HIDDEN), 0.01)
    began = time.perf_counter()
    for _ in range(_PASSES):
        (gelu(rows @ up) @ down).sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - began
