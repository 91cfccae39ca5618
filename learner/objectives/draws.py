"""Objectives that take each draw of a likelihood by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learner.objectives.objective import SampleBySample, sum_per_sample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


class DrawByDraw(SampleBySample):
    """An objective that is a mean, or a sum, over the draws of a sample's likelihood (:class:`Views`).

    Each draw of a sample is then a piece of its own, and draws may be in different micro-batches.
    """

    by_token = False

    def per_draw(self, tokens: TokenRows, values: Tensor) -> Tensor:
        """Add up token values [T] over each of the n pieces, [n], as an estimate by this draw alone."""
        return sum_per_sample(tokens, values) * tokens.draws
