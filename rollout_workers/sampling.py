"""From logits to tokens: temperature, top-p, top-k, and inverse-CDF sampling.

A token is drawn from one uniform number, by walking the vocabulary in the order of its ids: no sort, no noise over
the vocabulary, and a sample's noise does not depend on the batch it runs in.

V is the number of tokens whose logits this process has (:class:`rollout_workers.vocabulary.Vocabulary`). Where it
is one of several ranks with a part each, all results are those of the whole rows, on every rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from common.records import Sampler
from rollout_workers.kernels import BLOCK, Kernels
from rollout_workers.nucleus import TINY, reached
from rollout_workers.vocabulary import Vocabulary


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
        """Keep the rows ``keep`` [m], by their numbers."""
        return Draws(*(t[keep] for t in self))


class Filtered(NamedTuple):
    """Unnormalized probabilities [n, V] and the smallest [n] that temperature and filters keep.

    ``largest`` [n, K] are those of :class:`~rollout_workers.nucleus.Nucleus`, where a nucleus was looked for so.
    """

    weights: Tensor
    floor: Tensor
    largest: Tensor | None


@dataclass(frozen=True)
class TokenSampler:
    """Temperature, filters and draws of one sampler. Temperature 0 is greedy; its statistics are those of 1."""

    sampler: Sampler
    kernels: Kernels
    vocabulary: Vocabulary

    def filtered(self, logits: Tensor) -> Filtered:
        """Apply temperature and filters to logits [n, V]."""
        vocabulary = self.vocabulary
        weights, sums = self._weights(logits)
        totals = vocabulary.sum(sums)
        floor, largest = torch.full_like(totals, TINY), None
        if self.sampler.top_p < 1:
            nucleus = self.kernels.nucleus(weights, totals, self.sampler.top_p, vocabulary)
            floor, largest = torch.maximum(floor, nucleus.floor), nucleus.largest
        if 0 < self.sampler.top_k < vocabulary.total:
            floor = torch.maximum(floor, vocabulary.top(weights, self.sampler.top_k)[:, -1])
        return Filtered(weights, floor, largest)

    def entropies(self, filtered: Filtered) -> Tensor:
        """Compute the entropy [n], in nats, of each distribution that :meth:`filtered` has found."""
        weights, floor, largest = filtered
        if largest is None:
            return self._entropies(weights, floor)
        found = self._entropies(largest, floor)
        rest = (~reached(floor, largest)).nonzero().squeeze(-1)
        if len(rest):
            found[rest] = self._entropies(weights[rest], floor[rest])
        return found

    def margins(self, filtered: Filtered) -> Tensor:
        """Compute the gap [n] between the two largest probabilities that :meth:`filtered` has found."""
        weights, floor, _ = filtered
        top = self.vocabulary.top(weights, 2)
        top = torch.where(top >= floor.unsqueeze(-1), top, 0.0)
        return (top[:, 0] - top[:, 1]) / self._mass(weights, floor)

    def draw(self, logits: Tensor, uniforms: Tensor, floor: Tensor | None = None) -> Draws:
        """Sample each row of logits [n, V] with its number in [0, 1) from ``uniforms`` [n] (fp64).

        ``floor`` [n] is what :meth:`filtered` has found of the same logits, where it was called.
        """
        if floor is None:
            weights, floor, _ = self.filtered(logits)
        else:
            weights, _ = self._weights(logits)
        greedy = self.sampler.temperature == 0
        if greedy:
            columns, owners = self._likeliest(logits)
            totals = self._mass(weights, floor)
        else:
            columns, owners, totals = self._invert(weights, floor, uniforms)
        vocabulary = self.vocabulary
        probabilities = (vocabulary.pick(_at(weights, columns), owners) / totals).float()
        return Draws(
            vocabulary.pick(vocabulary.first + columns, owners),
            probabilities,
            torch.zeros_like(probabilities) if greedy else probabilities.log(),
            vocabulary.pick(_at(logits, columns), owners) - vocabulary.logsumexp(self.kernels.log_sums(logits)),
        )

    def _entropies(self, weights: Tensor, floor: Tensor) -> Tensor:
        """Compute the entropy [n] of the weights that are at least ``floor`` [n]."""
        total, spread = map(self.vocabulary.sum, self.kernels.entropy_sums(weights, floor))
        return total.log() + spread / total

    def _weights(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Compute unnormalized probabilities [n, V] of logits [n, V], and this process's sums [n]."""
        vocabulary = self.vocabulary
        largest = None if vocabulary.is_whole else vocabulary.max(logits.amax(-1, keepdim=True))
        return self.kernels.exponentials(logits, self.sampler.temperature or 1.0, largest)

    def _mass(self, weights: Tensor, floor: Tensor) -> Tensor:
        """Sum the weights of each row that are at least its ``floor`` [n]: [n]."""
        return self.vocabulary.sum(self.kernels.masses(weights, floor.unsqueeze(-1)).squeeze(-1))

    def _likeliest(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Find the column [n] of the most likely token and the rank [n] that has it; ties go to the lowest id."""
        columns = logits.argmax(-1)
        return columns, self.vocabulary.gather(_at(logits, columns)).argmax(0)

    def _invert(self, weights: Tensor, floor: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw tokens by inverse CDF: a rank's part of the vocabulary, a block of the part, a token of the block.

        Returns the tokens' columns [n], the ranks [n] that have them, and the total kept weights [n]. On all other
        ranks the column of a row is within bounds, and means nothing.
        """
        width = weights.shape[-1]
        spare = -width % BLOCK
        if spare:
            weights = torch.nn.functional.pad(weights, (0, spare))
        blocks = self.kernels.block_masses(weights, floor).cumsum(-1)
        ends = self.vocabulary.gather(blocks[:, -1]).cumsum(0)
        totals = ends[-1]
        targets = _below(uniforms * totals, totals)
        owners = (ends <= targets).sum(0).clamp(max=len(ends) - 1)
        begins = torch.cat([torch.zeros_like(ends[:1]), ends])
        targets = _below(targets - begins[self.vocabulary.rank], blocks[:, -1])
        block = torch.searchsorted(blocks, targets.unsqueeze(-1), right=True).clamp(max=blocks.shape[-1] - 1)
        before = torch.where(block > 0, blocks.gather(-1, (block - 1).clamp(min=0)), 0.0)
        columns = block * BLOCK + torch.arange(BLOCK, device=weights.device)
        inside = weights.gather(-1, columns).double()
        inside = torch.where(inside >= floor.unsqueeze(-1), inside, 0.0).cumsum(-1)
        rest = _below(targets - before.squeeze(-1), inside[:, -1])
        offset = torch.searchsorted(inside, rest.unsqueeze(-1), right=True)
        return (block * BLOCK + offset).squeeze(-1).clamp(max=width - 1), owners, totals


def _at(table: Tensor, tokens: Tensor) -> Tensor:
    return table.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _below(targets: Tensor, totals: Tensor) -> Tensor:
    """Keep targets under their totals, so that rounding never carries a draw past the last kept token."""
    return torch.minimum(targets, totals.nextafter(torch.zeros_like(totals)))
