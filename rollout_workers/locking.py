"""Denoise approximately: rows that have settled are computed no more (SureLock, Oba et al., arXiv 2602.06412).

A row of the prompt or of a committed token still changes from step to step, as the tokens around it are committed.
Once the distribution it predicts changes by less than a bound between two steps, the row is locked: it keeps the
keys and values that it has in every layer, so that others go on seeing it, and is left out of every later pass.
As in the paper the change is a KL divergence of posteriors, here from the earlier to the later one, and a lock is
for good. The order of decoding does not matter, and there are no blocks.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from common.models.packing import Packing
from common.models.window import Memory, Window
from common.records import Sampler
from rollout_workers.batch import Batch
from rollout_workers.denoiser import Denoiser
from rollout_workers.distances import divergences
from rollout_workers.row_places import RowPlaces


class LockedRows:
    """The keys, values and last states of one batch's rows, and which of them are locked.

    They follow the rows when the batch changes, so that a completion does not depend on the rows beside it; other
    weights unlock everything. A step waits for the device once, to learn how many rows it has to compute.
    """

    def __init__(self, denoiser: Denoiser, sampler: Sampler) -> None:
        self._denoiser = denoiser
        self._bound = sampler.approximate_locking
        self._places = RowPlaces()
        self._memory = Memory(0)
        self._states = torch.zeros(0, denoiser.config.hidden_size, device=denoiser.device)
        self._locked = torch.zeros(0, dtype=torch.bool, device=denoiser.device)
        self._settling = self._locked

    def hidden(self, batch: Batch, version: int) -> Tensor:
        """Compute hidden states [N, H] of the batch, those of locked rows as they were when they were locked."""
        self._follow(batch, version)
        canvas = batch.canvas
        window = window_of(canvas.packing, ~self._locked)
        states = self._denoiser.refresh(canvas.ids, canvas.packing, window, self._memory)
        free = self._free(batch)
        comparable = (self._settling & free)[window.rows].nonzero().squeeze(1)
        rows = window.rows[comparable]
        change = divergences(self._denoiser, self._states[rows], states[comparable])
        self._locked[rows] = change < self._bound
        self._states[window.rows] = states
        self._settling = free
        return self._states

    def _free(self, batch: Batch) -> Tensor:
        """Mark the rows [N] that are not masked and predict no masked position."""
        masked = batch.canvas.positions[batch.masked()]
        free = torch.ones_like(self._locked)
        free[masked] = False
        free[self._denoiser.source_rows(masked)] = False
        return free

    def _follow(self, batch: Batch, version: int) -> None:
        origins = self._places.moved(batch, version)
        if origins is None:
            return
        known = origins >= 0
        self._memory = self._memory.moved(origins)
        self._states, self._locked, self._settling = (
            _moved(held, origins, known) for held in (self._states, self._locked, self._settling)
        )


def window_of(packing: Packing, computed: Tensor) -> Window:
    """Return the window of the rows that are set in ``computed`` [N], which may be any of a sequence's."""
    marked, device = computed.cpu().numpy(), computed.device
    spans = sorted(
        (int(marked[start : start + length].sum()), length, start)
        for start, length in zip(packing.starts, packing.lengths, strict=True)
    )
    rows, groups, begin = [], [], 0
    for (count, length), members in groupby(spans, key=lambda span: span[:2]):
        if not count:
            continue
        starts = [start for _, _, start in members]
        rows += [start + np.flatnonzero(marked[start : start + length]) for start in starts]
        places = torch.tensor(starts, device=device).unsqueeze(1) + torch.arange(length, device=device)
        groups.append((begin, count, places))
        begin += count * len(starts)
    return Window(torch.from_numpy(np.concatenate(rows)).to(device), tuple(groups))


def _moved(held: Tensor, origins: Tensor, known: Tensor) -> Tensor:
    fresh = held.new_zeros(len(origins), *held.shape[1:])
    fresh[known] = held[origins[known]]
    return fresh
