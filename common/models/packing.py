"""Sequences of different lengths in one batch, without padding.

A batch is one flat row of N tokens. Sequences of equal length lie next to each other, so that attention runs
as one unmasked call per length: no pad token exists, and none can change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """The places of the sequences of a packed batch.

    ``starts[i]`` and ``lengths[i]`` locate sequence i (in the caller's order) in the flat row of ``total``
    tokens. ``blocks`` lists runs of equal length as (start, count, length). ``positions`` is [total], counted
    from 0 in every sequence.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    blocks: tuple[tuple[int, int, int], ...]
    positions: Tensor
    total: int

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.blocks[-1][2]

    @cached_property
    def ends(self) -> Tensor:
        """Where each sequence begins, in the order of the row, and where the last one ends: [n + 1], int32."""
        return _ends([length for _, count, length in self.blocks for _ in range(count)], self.positions.device)

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> Packing:
        """Lay out sequences of the given lengths. Raises ValueError for an empty batch or sequence."""
        if not lengths or min(lengths) < 1:
            raise ValueError("a packed batch needs at least one sequence, each of at least one token")
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        offsets = [0, *accumulate(lengths[i] for i in order)]
        starts = [0] * len(lengths)
        for rank, sequence in enumerate(order):
            starts[sequence] = offsets[rank]
        blocks, start = [], 0
        for length, run in groupby(lengths[i] for i in order):
            count = sum(1 for _ in run)
            blocks.append((start, count, length))
            start += count * length
        positions = torch.cat([torch.arange(length).repeat(count) for _, count, length in blocks])
        return cls(tuple(starts), tuple(lengths), tuple(blocks), positions.to(device), offsets[-1])

    def pack(self, sequences: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> Tensor:
        """Join the token ids of the sequences (caller's order) into one flat [total] row."""
        row = torch.empty(self.total, dtype=torch.long)
        for start, length, ids in zip(self.starts, self.lengths, sequences, strict=True):
            row[start : start + length] = torch.as_tensor(ids, dtype=torch.long)
        return row.to(self.positions.device)


@dataclass(frozen=True)
class Queries:
    """The rows of a packed batch whose hidden states are wanted; the others are seen, but not computed to the end.

    ``rows`` [m] are flat places, ascending; ``counts`` says how many of them each sequence has, in the order in
    which the sequences lie in the row.
    """

    rows: Tensor
    counts: tuple[int, ...]

    @cached_property
    def ends(self) -> Tensor:
        """Where the rows of each sequence begin in ``rows``, and where the last ones end: [n + 1], int32."""
        return _ends(self.counts, self.rows.device)


def _ends(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(counts)], dtype=torch.int32).to(device, non_blocking=True)
