"""Forward passes over part of a packed batch, on remembered keys and values for the rest.

For a bidirectional model this is an approximation: what is remembered was computed beside other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from common.models.packing import Packing
from common.models.precision import attend


@dataclass(frozen=True)
class Window:
    """The rows [A] of a packed batch that a pass computes.

    ``groups`` lists sequences of one shape: where their rows start in ``rows``, how many rows each has, and the
    flat places [sequences, length] of all their tokens.
    """

    rows: Tensor
    groups: tuple[tuple[int, int, Tensor], ...]

    @classmethod
    def of(cls, packing: Packing, spans: Sequence[tuple[int, int]]) -> Window:
        """Positions ``spans[i]`` = (first, end) of every sequence i."""
        device = packing.positions.device

        def shape(i: int) -> tuple[int, int]:
            return spans[i][1] - spans[i][0], packing.lengths[i]

        rows, groups, start = [], [], 0
        for (count, length), members in groupby(sorted(range(len(spans)), key=shape), key=shape):
            firsts = torch.tensor([[packing.starts[i], spans[i][0]] for i in members], device=device)
            begins = firsts[:, :1]
            rows.append((begins + firsts[:, 1:] + torch.arange(count, device=device)).view(-1))
            groups.append((start, count, begins + torch.arange(length, device=device)))
            start += count * len(firsts)
        return cls(torch.cat(rows), tuple(groups))


class Memory:
    """Keys and values [N, kv heads, d] of every layer, as last computed for each row of a packed batch."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, window: Window, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remember k and v of the window's rows; attention [A, heads * d] of its queries over whole sequences."""
        if layer not in self._layers:
            self._layers[layer] = (k.new_zeros(self._rows, *k.shape[1:]), v.new_zeros(self._rows, *v.shape[1:]))
        keys, values = self._layers[layer]
        keys[window.rows], values[window.rows] = k, v
        attended = []
        for start, count, places in window.groups:
            queries = q[start : start + count * len(places)].view(len(places), count, *q.shape[1:])
            out = attend(queries.transpose(1, 2), keys[places].transpose(1, 2), values[places].transpose(1, 2))
            attended.append(out.transpose(1, 2).reshape(count * len(places), -1))
        return torch.cat(attended)

    def moved(self, origins: Tensor) -> Memory:
        """For a new packing whose row i was row ``origins[i]`` here (-1: it is new)."""
        memory = Memory(len(origins))
        known = origins >= 0
        for layer, pair in self._layers.items():
            fresh = tuple(t.new_zeros(len(origins), *t.shape[1:]) for t in pair)
            for new, old in zip(fresh, pair, strict=True):
                new[known] = old[origins[known]]
            memory._layers[layer] = (fresh[0], fresh[1])
        return memory
