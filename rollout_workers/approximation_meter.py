"""Measure an approximate sampler while it samples: at some steps the exact pass runs on the same canvas as well.

What is compared is the model's own distribution at temperature 1, so that a token which the exact nucleus would
have left out still has a finite ratio. The positions that the step commits are the approximate sampler's.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from common import rng
from common.models.packing import Packing, Queries
from common.records import Mismatch
from rollout_workers.batch import Batch, Places, Row
from rollout_workers.denoiser import Denoiser
from rollout_workers.distances import divergence, log_probs

#: Tokens whose distributions, exact and approximate, are held at once.
_AT_ONCE = 64


class ApproximationMeter:
    """Measures each row's steps with probability ``share``, drawn by the row's key: whatever lies beside it.

    A measured step costs an exact pass of the rows measured, and waits for the device.
    """

    def __init__(self, denoiser: Denoiser, share: float) -> None:
        self._denoiser = denoiser
        self._share = share

    def measure(self, batch: Batch, chosen: Places, hidden: Tensor, tokens: Tensor) -> None:
        """Add up how far the step is from the exact one, before it commits ``tokens`` [m] to ``chosen``.

        ``hidden`` [m, H] are the approximate rows that the tokens were drawn from.
        """
        numbers = [number for number, row in enumerate(batch.rows) if self._is_due(row)]
        if not numbers or not any(chosen.counts[number] for number in numbers):
            return
        begins = [0, *accumulate(chosen.counts)]
        among = torch.cat([torch.arange(begins[n], begins[n + 1]) for n in numbers]).to(tokens.device)
        counts = [chosen.counts[number] for number in numbers]
        exact = self._exact(batch, numbers, counts, chosen.flat[among])
        ratios, kls = self._compare(exact, hidden[among], tokens[among])
        owners = torch.arange(len(numbers)).repeat_interleave(torch.tensor(counts)).to(tokens.device)
        # A row whose text is complete may be here a step longer than it needs: what it draws is not committed.
        counted = ~batch.cells.done[torch.tensor(numbers, device=tokens.device)]
        sums = ratios.new_zeros(3, len(numbers))
        for into, values in zip(sums, (torch.ones_like(ratios), ratios, kls), strict=True):
            into.index_add_(0, owners, values)
        sums *= counted
        for number, (count, ratio, kl) in zip(numbers, sums.T.tolist(), strict=True):
            batch.rows[number].mismatch += Mismatch(tokens=round(count), log_ratio=ratio, kl=kl)

    def _is_due(self, row: Row) -> bool:
        key = row.request.key
        draws = rng.stream(key.seed, f"{key.purpose}-measured", *key.indices, row.step)
        return bool(draws.random() < self._share)

    def _exact(self, batch: Batch, numbers: list[int], counts: list[int], places: Tensor) -> Tensor:
        """Compute the exact hidden rows [m, H] of ``places`` [m] in [n, L], which are of rows ``numbers``."""
        canvas, length = batch.canvas, batch.sampler.completion_length
        spans = [(canvas.packing.starts[number], canvas.packing.lengths[number]) for number in numbers]
        # A batch has its rows in the order in which a packing lays them, shortest first; so has a part of them.
        packing = Packing.of([size for _, size in spans], places.device)
        ids = torch.cat([canvas.ids[start : start + size] for start, size in spans])
        firsts = [start + size - length for start, size in zip(packing.starts, packing.lengths, strict=True)]
        owners = torch.tensor(firsts).repeat_interleave(torch.tensor(counts)).to(places.device)
        rows = self._denoiser.source_rows(owners + places % length)
        return self._denoiser.hidden(ids, packing, Queries(rows, tuple(counts)))

    def _compare(self, exact: Tensor, approximate: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log p_exact - log p_approximate of tokens [m], and KL(approximate || exact) [m], both fp64."""
        ratios, kls = [], []
        for one, other, ids in zip(*(torch.split(t, _AT_ONCE) for t in (exact, approximate, tokens)), strict=True):
            right, near = log_probs(self._denoiser, one), log_probs(self._denoiser, other)
            ratios.append((right - near).gather(-1, ids.unsqueeze(-1)).squeeze(-1))
            kls.append(divergence(near, right))
        return torch.cat(ratios).double(), torch.cat(kls).double()
