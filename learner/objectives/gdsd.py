"""Guided denoiser self-distillation (GDSD)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.draws import DrawByDraw
from learner.objectives.objective import Sums
from learner.objectives.ratios import kl_estimate
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class GuidedDistillation(DrawByDraw):
    """GDSD (arXiv 2605.29398): the denoiser learns to differ from the old one by ``psi`` advantages.

    It forms no likelihood ratio. With S the sum over a completion's L tokens of what a draw of masks gives them,
    and S_old and S_ref the same under the old and the reference policy, the loss of a completion is

        sum over draws of (clip(S - S_old) / L - psi A)^2  +  kl_weight * mean over draws of (S - S_ref)^2 / (2 L),

    of which the mean over completions is taken. The clip is to log(1 - ``clip``) and log(1 + ``clip``), of the sum
    over tokens: a draw that is beyond it has no gradient but that of the KL.

    Source: the released code, ``gdsd_trainer.py``, or the first ``gdsd_trainer_tlc.py``, whose centering of logits
    cancels in its softmax; S is there of the whole canvas (``positions: all``). Different here: sizes of masks are
    drawn per completion, not spread over a batch. Not here: log-probabilities less their mean over the vocabulary
    (equation 8), as a later version of the released code has them.
    """

    psi: float
    clip: float
    kl_weight: float

    needs_old = True
    metric_names = ("policy/kl", "policy/clip_low_fraction", "policy/clip_high_fraction", "policy/clip_fraction")

    @property
    def needs_reference(self) -> bool:
        return self.kl_weight > 0

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        present = tokens.present
        length = tokens.valid[present]

        def total(values: Tensor) -> Tensor:
            return self.per_draw(tokens, values)[present]

        new = total(tokens.estimates(log_probs))
        change = new - (new.detach() if tokens.old is None else total(tokens.old))
        low, high = math.log(1.0 - self.clip), math.log(1.0 + self.clip)
        miss = change.clamp(low, high) / length - self.psi * tokens.advantages[present]
        kl = kl_estimate(new, None if tokens.reference is None else total(tokens.reference), "k2") / length
        below, above = (change < low).sum(), (change > high).sum()
        figures = (kl.detach().sum(), below, above, below + above)
        return Sums(
            (miss.square() + self.kl_weight / tokens.draws * kl).sum(),
            dict(zip(self.metric_names, figures, strict=True)),
            units=new.numel(),
        )
