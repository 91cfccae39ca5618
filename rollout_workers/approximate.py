"""Denoise a block approximately, on keys and values remembered from when it began (Fast-dLLM, arXiv 2505.22618).

A full pass at the start of each block remembers everything. Inside the block a pass computes only the block
(``dual``), or the block and all behind it (``prefix``). What is remembered goes stale as tokens are committed, so
the distributions differ from the exact engine's.
"""

from __future__ import annotations

from torch import Tensor

from common.models.window import Memory, Window
from common.records import NoiseKey, Sampler
from rollout_workers.batch import Batch, Row
from rollout_workers.denoiser import Denoiser
from rollout_workers.row_places import RowPlaces


class BlockCache:
    """The remembered keys and values of one batch's rows; they follow the rows when the batch changes.

    Other weights begin every block anew.
    """

    def __init__(self, denoiser: Denoiser, sampler: Sampler) -> None:
        self._denoiser = denoiser
        self._sampler = sampler
        self._memory = Memory(0)
        self._places = RowPlaces()
        self._blocks: dict[NoiseKey, int] = {}

    def hidden(self, batch: Batch, version: int) -> Tensor:
        """Compute hidden states [N, H] of the batch; those that predict tokens of the current blocks are right."""
        canvas = batch.canvas
        self._follow(batch, version)
        blocks = (batch.first_open() // self._sampler.block_length).tolist()
        spans = [
            self._span(row, length, block)
            for row, length, block in zip(batch.rows, canvas.packing.lengths, blocks, strict=True)
        ]
        window = Window.of(canvas.packing, spans)
        part = self._denoiser.refresh(canvas.ids, canvas.packing, window, self._memory)
        whole = part.new_zeros(canvas.packing.total, part.shape[-1])
        whole[window.rows] = part
        return whole

    def _span(self, row: Row, length: int, block: int) -> tuple[int, int]:
        """Return first and end of the positions to compute: all when a block begins, then what the mode says."""
        if self._blocks.get(row.request.key) != block:
            self._blocks[row.request.key] = block
            return 0, length
        width = self._sampler.block_length
        begin = len(row.request.prompt_ids) + block * width
        # With shifted logits the block's first token is predicted by the row before it.
        first = self._denoiser.source_rows(begin)
        return first, begin + width if self._sampler.approximate_cache == "dual" else length

    def _follow(self, batch: Batch, version: int) -> None:
        """Move what is remembered to the places that the rows have now."""
        origins = self._places.moved(batch, version)
        if origins is None:
            return
        self._memory = self._memory.moved(origins)
        starts = zip(batch.rows, batch.canvas.packing.starts, strict=True)
        kept = {row.request.key for row, start in starts if origins[start] >= 0}
        self._blocks = {key: block for key, block in self._blocks.items() if key in kept}
