"""The sequence-level objective of ESPO, GDPO and GSPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.batch import TokenRows
from learner.objectives.objective import SampleBySample, Sums, sum_per_sample
from learner.objectives.ratios import Clip, KlEstimator, kl_to_reference
from learner.samples import TrainingSample


@dataclass(frozen=True)
class SequenceGrpo(SampleBySample):
    """One clipped ratio a completion: exp of the mean difference of its token estimates.

    ESPO (arXiv 2512.03759) and GDPO (arXiv 2510.08554) with estimates of the evidence lower bound; the form is
    GSPO's.
    """

    clip: Clip
    kl_weight: float
    kl: KlEstimator = "k3"

    by_token = False
    needs_old = True
    metric_names = ("policy/kl", *Clip.metric_names)

    @property
    def needs_reference(self) -> bool:
        return self.kl_weight > 0

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        present = torch.bincount(tokens.owner, minlength=len(tokens.samples)) > 0
        length = tokens.of_samples(lambda sample: sample.valid_tokens)

        def mean(values: Tensor) -> Tensor:
            return (sum_per_sample(tokens, values) / length)[present]

        new = mean(tokens.estimates(log_probs))
        ratio = torch.exp(new - (new.detach() if tokens.old is None else mean(tokens.old)))
        advantage = tokens.advantages[present]
        kl = kl_to_reference(new, None if tokens.reference is None else mean(tokens.reference), self.kl)
        loss = (self.kl_weight * kl - self.clip.surrogate(ratio, advantage)).sum()
        return Sums(loss, {"policy/kl": kl.detach().sum(), **self.clip.metrics(ratio, advantage)})
