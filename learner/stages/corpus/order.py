"""The order that documents are read in: functions of the seed and of counts, so that any step is found at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from common.rng import stream


@dataclass(frozen=True)
class Epoch:
    """The order of an epoch: ``documents`` [n], and ``ends`` [n], the tokens up to the end of each."""

    documents: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class EpochOrder:
    """A new order of ``lengths.size`` documents for every epoch, keyed by ``seed`` and ``label``."""

    def __init__(self, lengths: npt.NDArray[np.int64], seed: int, label: int) -> None:
        self._lengths = lengths
        self._seed = seed
        self._label = label
        self.tokens = int(lengths.sum())
        # Two, since a step may lie in the end of one epoch and the beginning of the next.
        self.epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return len(self._lengths)

    def _shuffled(self, epoch: int) -> Epoch:
        order = stream(self._seed, "documents", self._label, epoch).permutation(len(self._lengths))
        return Epoch(order, np.cumsum(self._lengths[order]))


def pieces(ends: npt.NDArray[np.int64], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Cut the tokens ``start`` to ``stop`` out of documents laid end to end.

    Yield, for each document that has a part in them, its number and the part's first and last token, exclusive.
    """
    number = int(np.searchsorted(ends, start, side="right"))
    while start < stop:
        begin = int(ends[number - 1]) if number else 0
        last = min(stop, int(ends[number]))
        yield number, start - begin, last - begin
        start, number = last, number + 1
