"""Boundary-guided policy optimization (BGPO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.draws import DrawByDraw
from learner.objectives.objective import Sums
from learner.objectives.ratios import Clip
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class BoundaryGuided(DrawByDraw):
    """BGPO (arXiv 2510.11683): a lower bound of the clipped surrogate that is a mean over draws.

    With d the change of a draw's evidence lower bound since the start of the step, divided by the length of the
    canvas, a draw's ratio is 1 + d where A > 0 and e^d where not: either way, the mean over draws of ratio times A
    is at most e^(mean of d) times A. Ratios are clipped as in PPO, and where A < 0 a draw loses at most
    ``dual_clip`` |A|. The loss is the mean over valid tokens; all tokens of a completion have its loss.

    Source: the port of BGPO in DARE, ``compute_policy_loss_bgpo``. Different here: the mean over tokens is over
    the whole update, not over a micro-batch.
    """

    clip: Clip
    dual_clip: float

    needs_old = True
    needs_reference = False
    metric_names = Clip.metric_names

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        present = tokens.present
        share = (tokens.valid / tokens.draws)[present]

        def bound(values: Tensor) -> Tensor:
            return (self.per_draw(tokens, values) / tokens.lengths)[present]

        new = bound(tokens.estimates(log_probs))
        change = new - (new.detach() if tokens.old is None else bound(tokens.old))
        advantage = tokens.advantages[present]
        raised = advantage > 0
        # The exponent is replaced, not its result: an overflow there would make the other side's gradient NaN.
        ratio = (1.0 + change).where(raised, change.masked_fill(raised, 0.0).exp())
        surrogate = self.clip.surrogate(ratio, advantage)
        surrogate = surrogate.where(raised, surrogate.maximum(self.dual_clip * advantage))
        return Sums(-(share * surrogate).sum(), self.clip.metrics(ratio, advantage), units=ratio.numel())
