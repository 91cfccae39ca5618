"""The sandwiched policy gradient (SPG)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.objective import SampleBySample, Sums
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class SandwichedGradient(SampleBySample):
    """SPG (arXiv 2510.09541): a bound of the likelihood on the side that counts, without ratio or KL.

    A positive advantage raises the lower bound; a negative one lowers ``mix`` times the upper bound
    1/beta log E[p^beta / t] of each token and 1 - ``mix`` times the lower one. The lower bound is a mean over
    valid tokens, the upper one over those that some view masks. As in the released code, completions count by
    their valid tokens.
    """

    beta: float
    mix: float

    by_token = True
    needs_old = False
    needs_reference = False
    metric_names = ()

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        value = self.bounds(tokens, log_probs)
        return Sums(-(tokens.advantages[tokens.owner] * value).sum(), {}, units=value.numel())

    def bounds(self, tokens: TokenRows, log_probs: Tensor) -> Tensor:
        """Return what each token [T] adds to the bound of its sample, times the sample's valid tokens."""
        lower = tokens.estimates(log_probs)
        share = tokens.valid / tokens.measured
        upper = share[tokens.owner] * self._upper(tokens, log_probs)
        mixed = self.mix * upper + (1.0 - self.mix) * lower
        return mixed.where(tokens.advantages[tokens.owner] < 0, lower)

    def _upper(self, tokens: TokenRows, log_probs: Tensor) -> Tensor:
        exponents = self.beta * log_probs + tokens.weights.log()
        floor = log_probs.new_full((tokens.owner.numel(),), -math.inf)
        largest = floor.scatter_reduce(0, tokens.token, exponents.detach(), "amax")
        shares = (exponents - largest[tokens.token]).exp()
        total = largest.new_zeros(largest.shape).index_add(0, tokens.token, shares)
        return (largest + total.log()) / self.beta
