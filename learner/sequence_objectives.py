"""Objectives of whole completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.batch import ScoredTokens
from learner.objective import Clip, KlEstimator, SampleBySample, Sums, kl_to_reference
from learner.samples import TrainingSample


def _by_group(samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
    groups: dict[int, list[TrainingSample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    return list(groups.values())


def _per_sample(tokens: ScoredTokens, values: Tensor) -> Tensor:
    """Sums [n] of token values [T] over each sample."""
    return torch.zeros(len(tokens.samples), device=values.device).index_add(0, tokens.owner, values)


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

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        present = torch.bincount(tokens.owner, minlength=len(tokens.samples)) > 0
        length = tokens.of_samples(lambda sample: sample.valid_tokens)

        def mean(values: Tensor) -> Tensor:
            return (_per_sample(tokens, values) / length)[present]

        new = mean(tokens.estimates(scores))
        ratio = torch.exp(new - (new.detach() if tokens.old is None else mean(tokens.old)))
        advantage = tokens.advantages[present]
        kl = kl_to_reference(new, None if tokens.reference is None else mean(tokens.reference), self.kl)
        loss = (self.kl_weight * kl - self.clip.surrogate(ratio, advantage)).sum()
        return Sums(loss, {"policy/kl": kl.detach().sum(), **self.clip.metrics(ratio, advantage)})


@dataclass(frozen=True)
class WeightedLikelihood:
    """wd1 (arXiv 2507.08838): -sum_i (softmax(A)_i - softmax(-A)_i) log p(o_i), the mean over groups.

    Needs neither old nor reference policy.
    """

    by_token = True
    needs_old = False
    metric_names = ()

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        """Each sample's advantage becomes what its likelihood counts."""
        linked = []
        for group in _by_group(samples):
            advantages = torch.tensor([sample.advantage for sample in group], dtype=torch.float64)
            weights = advantages.softmax(0) - (-advantages).softmax(0)
            linked += [[replace(s, advantage=w)] for s, w in zip(group, weights.tolist(), strict=True)]
        return linked

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len({sample.group for samples in linked for sample in samples}))

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        return Sums(-(tokens.advantages[tokens.owner] * tokens.estimates(scores)).sum(), {})


@dataclass(frozen=True)
class SandwichedGradient(SampleBySample):
    """SPG (arXiv 2510.09541): a bound of the likelihood on the side that counts, without ratio or KL.

    A positive advantage raises the lower bound; a negative one lowers ``mix`` times the upper bound
    1/beta log E[p^beta / t] of each token and 1 - ``mix`` times the lower one. Both are means over valid tokens; a
    token that no view masks has no part in them.
    """

    beta: float
    mix: float

    by_token = True
    needs_old = False
    metric_names = ()

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        lower = tokens.estimates(scores)
        advantage = tokens.advantages[tokens.owner]
        value = torch.where(
            advantage < 0, self.mix * self._upper(tokens, scores) + (1.0 - self.mix) * lower, lower
        )
        length = tokens.of_samples(lambda sample: sample.valid_tokens)[tokens.owner]
        return Sums(-(advantage * value / length).sum(), {})

    def _upper(self, tokens: ScoredTokens, scores: Tensor) -> Tensor:
        exponents = self.beta * scores + tokens.weights.log()
        floor = torch.full((tokens.owner.numel(),), -torch.inf, device=scores.device)
        largest = floor.scatter_reduce(0, tokens.token, exponents.detach(), "amax")
        shares = torch.exp(exponents - largest[tokens.token])
        total = torch.zeros_like(largest).index_add(0, tokens.token, shares)
        return (largest + total.log()) / self.beta


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
    metric_names = ("policy/preference_accuracy", "policy/preference_margin")

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        pairs = []
        for group in _by_group(samples):
            ranked = sorted(group, key=lambda sample: -sample.reward)
            for better, worse in zip(ranked, reversed(ranked), strict=True):
                if better.reward <= worse.reward:
                    break
                pairs.append([better, worse])
        return pairs

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(len(linked))

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        assert tokens.reference is not None
        gain = _per_sample(tokens, tokens.estimates(scores) - tokens.reference)
        margin = self.beta * (gain[0::2] - gain[1::2])
        return Sums(
            -F.logsigmoid(margin).sum(),
            {
                "policy/preference_accuracy": (margin.detach() > 0).sum(),
                "policy/preference_margin": margin.detach().sum(),
            },
        )
