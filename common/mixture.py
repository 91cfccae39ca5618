"""Data from several sources in proportion to their weights, in an order that any place is found in at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from common.rng import stream

_BLOCK = 4096


class Mixture:
    """Draws which of several streams each item comes from, in proportion to their weights.

    The draws are functions of ``seed`` and the item's number. Items are the sequences of a supervised stage, or
    the groups of a run of reinforcement learning.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self._edges = np.cumsum(np.array(weights) / sum(weights))[:-1]
        self._seed = seed
        self._before = [np.zeros(len(weights), dtype=np.int64)]
        self._draws = lru_cache(maxsize=2)(self._drawn)

    def place(self, item: int) -> tuple[int, int]:
        """Return the stream that an item comes from, and how many before it came from there."""
        block, within = divmod(item, _BLOCK)
        source = int(self._draws(block)[within])
        return source, int(self.counts(item)[source])

    def counts(self, items: int) -> npt.NDArray[np.int64]:
        """Count how many of the first ``items`` come from each stream."""
        block, within = divmod(items, _BLOCK)
        while len(self._before) <= block:
            self._before.append(self._before[-1] + self._counted(self._drawn(len(self._before) - 1)))
        return self._before[block] + self._counted(self._draws(block)[:within])

    def _counted(self, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.bincount(draws, minlength=len(self._edges) + 1)

    def _drawn(self, block: int) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._edges, stream(self._seed, "mixture", block).random(_BLOCK), side="right")
