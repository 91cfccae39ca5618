"""Sequences of different lengths in one batch, without padding.

A batch is one flat row of N tokens. Sequences of equal length lie next to each other, so that attention runs
as one unmasked call per length: no pad token exists, and none can change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
