"""What the first layer's attention reads, remembered between passes over one packed batch.

Before the first attention nothing has seen its neighbours: queries, keys and values of a row are made of its token
and its place alone. From one denoising step to the next only committed tokens change, so only their rows are
computed. What is remembered is of certain weights: whoever changes these has it forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from common.models.packing import Packing


@dataclass(frozen=True)
class _Held:
    packing: Packing
    ids: Tensor
    tables: tuple[Tensor, Tensor]


class FirstLayer:
    """Two tables of the rows of a packed batch: rotated queries and keys, and values."""

    def __init__(self) -> None:
        self._held: _Held | None = None

    def forget(self) -> None:
        """Give the memory back; the next pass computes every row."""
        self._held = None

    def tables(
        self, ids: Tensor, packing: Packing, compute: Callable[[Tensor | slice], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return both tables for token ids [N]; ``compute`` makes the rows that it is given the numbers of.

        Asks the device which rows changed, so it is for a CPU. The tables are not to be written to.
        """
        held = self._held
        if held is None or held.packing is not packing:
            rotated, values = compute(slice(None))
            # Copies, as what computes them writes into the same memory in every layer.
            held = self._held = _Held(packing, ids.clone(), (rotated.clone(), values.clone()))
            return held.tables
        changed = (ids != held.ids).nonzero().squeeze(1)
        if len(changed):
            for table, rows in zip(held.tables, compute(changed), strict=True):
                table.index_copy_(0, changed, rows)
            held.ids.copy_(ids)
        return held.tables
