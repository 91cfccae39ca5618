"""Batches of completions, each of which is recorded as a whole once it is complete."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from common.records import NoiseKey
from evaluation.completers.interface import Batch, Completed


class CompletedBatch(BaseModel):
    """A line of batches.jsonl: batch ``number`` of a benchmark in a cell, and the seconds that it took.

    Where several are completed at once, the seconds are those since another one was complete, so that their sum is
    the time of all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    cell: str
    number: int
    seconds: float
    completions: tuple[Completed, ...]


class OpenBatches:
    """Batches under way; the time of the first begins now."""

    def __init__(self, benchmark: str, cell: str, batches: Mapping[int, Batch]) -> None:
        self._names = {"benchmark": benchmark, "cell": cell}
        self._number = {request.key: number for number, batch in batches.items() for request in batch}
        self._sizes = {number: len(batch) for number, batch in batches.items()}
        self._done: dict[int, dict[NoiseKey, Completed]] = {number: {} for number in batches}
        self._since = time.monotonic()

    def add(self, finished: Sequence[Completed]) -> Iterator[CompletedBatch]:
        """Take in what was finished; yield each batch of which it was the last."""
        for done in finished:
            number = self._number[done.request.key]
            batch = self._done[number]
            batch[done.request.key] = done
            if len(batch) == self._sizes[number]:
                now = time.monotonic()
                seconds, self._since = now - self._since, now
                completions = tuple(self._done.pop(number).values())
                yield CompletedBatch(**self._names, number=number, seconds=seconds, completions=completions)
