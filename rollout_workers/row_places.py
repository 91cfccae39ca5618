"""Where the rows of a batch lie, and where what is remembered of them must go when the batch changes."""

from __future__ import annotations

import torch
from torch import Tensor

from common.records import NoiseKey
from rollout_workers.batch import Batch


class RowPlaces:
    """The places of a batch's rows in its packed row of N tokens, as of the last look at it."""

    def __init__(self) -> None:
        self._spans: dict[NoiseKey, tuple[int, int]] = {}
        self._version: int | None = None

    def moved(self, batch: Batch, version: int) -> Tensor | None:
        """Look at the batch again, now with weights of ``version``; None where nothing has changed.

        Otherwise, where each token [N] was at the last look: -1 for those of new rows, and for all of them where
        the weights are others, as what was computed by the old ones is worth nothing then.
        """
        packing = batch.canvas.packing
        spans = zip(packing.starts, packing.lengths, strict=True)
        now = {row.request.key: span for row, span in zip(batch.rows, spans, strict=True)}
        before = self._spans if version == self._version else {}
        if now == before:
            return None
        self._spans, self._version = now, version
        origins = torch.full((packing.total,), -1)
        for key, (start, length) in now.items():
            if key in before:
                old = before[key][0]
                origins[start : start + length] = torch.arange(old, old + length)
        return origins.to(batch.canvas.ids.device)
