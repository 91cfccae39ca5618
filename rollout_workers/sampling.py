"""From logits to tokens: temperature, top-p, top-k, and inverse-CDF sampling.

A token is drawn from one uniform number, by walking the vocabulary in the order of its ids: no sort, no noise over
the vocabulary, and a sample's noise does not depend on the batch it runs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from common.records import Sampler
from rollout_workers.kernels import BLOCK, TINY, Kernels


class Draws(NamedTuple):
    """One token per row, all [n].

    ``probabilities`` are the tokens' under temperature and filters, ``logprobs`` the log-probabilities of the
    sampler's choice (0 where it is greedy), ``model_logprobs`` those at temperature 1 and unfiltered.
    """

    tokens: Tensor
    probabilities: Tensor
    logprobs: Tensor
    model_logprobs: Tensor

    def select(self, keep: Tensor) -> Draws:
        """Keep the rows that are set in ``keep`` [n]."""
        return Draws(*(t[keep] for t in self))


@dataclass(frozen=True)
class TokenSampler:
    """Temperature, filters and draws of one sampler. Temperature 0 is greedy; its statistics are those of 1."""

    sampler: Sampler
    kernels: Kernels

    def entropies(self, logits: Tensor) -> Tensor:
        """Compute the entropy [n], in nats, of the filtered distribution of each row of logits [n, V]."""
        return self.kernels.entropies(*self._filtered(logits))

    def margins(self, logits: Tensor) -> Tensor:
        """Compute the gap [n] between the two largest filtered probabilities of each row of logits [n, V]."""
        weights, floor = self._filtered(logits)
        top = weights.topk(2).values
        top = torch.where(top >= floor.unsqueeze(-1), top, 0.0)
        return (top[:, 0] - top[:, 1]) / self.kernels.masses(weights, floor.unsqueeze(-1)).squeeze(-1)

    def draw(self, logits: Tensor, uniforms: Tensor) -> Draws:
        """Sample each row of logits [n, V] with its number in [0, 1) from ``uniforms`` [n] (fp64)."""
        weights, floor = self._filtered(logits)
        if self.sampler.temperature == 0:
            tokens = logits.argmax(-1)
            totals = self.kernels.masses(weights, floor.unsqueeze(-1)).squeeze(-1)
        else:
            tokens, totals = self._invert(weights, floor, uniforms)
        probabilities = (_at(weights, tokens) / totals).float()
        greedy = self.sampler.temperature == 0
        return Draws(
            tokens,
            probabilities,
            torch.zeros_like(probabilities) if greedy else probabilities.log(),
            _at(logits, tokens) - logits.logsumexp(-1),
        )

    def _filtered(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Compute unnormalized probabilities [n, V] and the smallest [n] that the filters keep."""
        weights, totals = self.kernels.exponentials(logits, self.sampler.temperature or 1.0)
        if not bool(totals.isfinite().all()):
            raise FloatingPointError("the model's logits are not finite: its weights have diverged or are damaged")
        floor = torch.full_like(totals, TINY)
        if self.sampler.top_p < 1:
            floor = torch.maximum(floor, self.kernels.nucleus(weights, totals, self.sampler.top_p))
        if 0 < self.sampler.top_k < weights.shape[-1]:
            floor = torch.maximum(floor, weights.topk(self.sampler.top_k).values[:, -1])
        return weights, floor

    def _invert(self, weights: Tensor, floor: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Draw tokens [n] by inverse CDF on two levels, a block of the vocabulary and then in it; and the total
        kept weights [n]."""
        spare = -weights.shape[-1] % BLOCK
        if spare:
            weights = torch.nn.functional.pad(weights, (0, spare))
        blocks = self.kernels.block_masses(weights, floor).cumsum(-1)
        totals = blocks[:, -1]
        targets = _below(uniforms * totals, totals)
        block = torch.searchsorted(blocks, targets.unsqueeze(-1), right=True)
        before = torch.where(block > 0, blocks.gather(-1, (block - 1).clamp(min=0)), 0.0)
        columns = block * BLOCK + torch.arange(BLOCK, device=weights.device)
        inside = weights.gather(-1, columns).double()
        inside = torch.where(inside >= floor.unsqueeze(-1), inside, 0.0).cumsum(-1)
        rest = _below(targets - before.squeeze(-1), inside[:, -1])
        offset = torch.searchsorted(inside, rest.unsqueeze(-1), right=True)
        return (block * BLOCK + offset).squeeze(-1), totals


def _at(table: Tensor, tokens: Tensor) -> Tensor:
    return table.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _below(targets: Tensor, totals: Tensor) -> Tensor:
    """Keep targets under their totals, so that rounding never carries a draw past the last kept token."""
    return torch.minimum(targets, totals.nextafter(torch.zeros_like(totals)))
