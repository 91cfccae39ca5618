"""The preference loss of LLaDA 1.5 (VRPO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from learner.objectives.objective import Sums, by_group, sum_per_sample
from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class PreferenceLoss:
    """VRPO (LLaDA 1.5, arXiv 2505.19223): DPO on evidence lower bounds, under masks that policy and reference
    share.

    Pairs are the best and the worst completion of a group, the second best and second worst, and so on while their
    rewards differ.
    """

    beta: float

    by_token = False
    needs_old = False
    needs_reference = True
    metric_names = ("policy/preference_accuracy", "policy/preference_margin")

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        pairs = []
        for group in by_group(samples):
            ranked = sorted(group, key=lambda sample: -sample.reward)
            for better, worse in zip(ranked, reversed(ranked), strict=True):
                if better.reward <= worse.reward:
                    break
                pairs.append([better, worse])
        return pairs

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        assert tokens.reference is not None
        gain = sum_per_sample(tokens, tokens.estimates(log_probs) - tokens.reference)
        margin = self.beta * (gain[0::2] - gain[1::2])
        return Sums(
            (-margin).logaddexp(margin.new_zeros(())).sum(),  # -log sigmoid(margin)
            {
                "policy/preference_accuracy": (margin.detach() > 0).sum(),
                "policy/preference_margin": margin.detach().sum(),
            },
            units=margin.numel(),
        )
