"""What an objective is, and the token-level one of GRPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from learner.batch import ScoredTokens
from learner.samples import TrainingSample

KlEstimator = Literal["k2", "k3"]


@dataclass(frozen=True)
class Sums:
    """Sums over the units that an objective counts (tokens, samples, groups or pairs).

    Dividing them by the count over all ranks is the caller's part. ``metrics`` are detached.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]


class Objective(Protocol):
    @property
    def by_token(self) -> bool:
        """Whether the loss is a sum over tokens, which may then be scored apart."""

    @property
    def needs_old(self) -> bool:
        """Whether :meth:`sums` reads the estimates under the weights that the step began with."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What :meth:`sums` reports."""

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        """The samples that have a part in the loss, those of one term of it together."""

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        """How many units the loss is averaged over."""

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        """The loss of some tokens, given the log-probabilities [m] of the rows that measure them."""


def kl_to_reference(new: Tensor, reference: Tensor | None, estimator: KlEstimator) -> Tensor:
    """KL of each estimated log-likelihood to the reference's; 0 without one."""
    if reference is None:
        return torch.zeros_like(new)
    difference = reference - new
    return difference.square() / 2.0 if estimator == "k2" else torch.exp(difference) - difference - 1.0


@dataclass(frozen=True)
class Clip:
    """The clipped surrogate of PPO with a bound of its own on each side."""

    low: float
    high: float

    metric_names = (
        "policy/ratio_mean",
        "policy/clip_low_fraction",
        "policy/clip_high_fraction",
        "policy/clip_fraction",
    )

    def surrogate(self, ratio: Tensor, advantage: Tensor) -> Tensor:
        """min(ratio A, clip(ratio, 1 - low, 1 + high) A)."""
        return torch.minimum(ratio * advantage, ratio.clamp(1.0 - self.low, 1.0 + self.high) * advantage)

    def metrics(self, ratio: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        """Sums of the ratios, and of those whose gradient the clip stops, below and above."""
        below = ((ratio < 1.0 - self.low) & (advantage < 0)).sum()
        above = ((ratio > 1.0 + self.high) & (advantage > 0)).sum()
        return dict(zip(self.metric_names, (ratio.detach().sum(), below, above, below + above), strict=True))


class SampleBySample:
    """An objective no term of which has more than one sample in it."""

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        return [[sample] for sample in samples]


@dataclass(frozen=True)
class TokenGrpo(SampleBySample):
    """PPO-clipped policy gradient with a KL to the reference, over valid tokens (DiffuCoder, equations 2 and 5).

    ``importance`` weighs the surrogate of each token against staleness.
    """

    clip: Clip
    kl_weight: float
    kl: KlEstimator = "k3"

    by_token = True
    needs_old = True
    metric_names = ("policy/kl", *Clip.metric_names)

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: ScoredTokens, scores: Tensor) -> Sums:
        new = tokens.estimates(scores)
        ratio = torch.exp(new - (new.detach() if tokens.old is None else tokens.old))
        advantage = tokens.advantages[tokens.owner]
        if tokens.importance is not None:
            advantage = advantage * tokens.importance
        kl = kl_to_reference(new, tokens.reference, self.kl)
        loss = (self.kl_weight * kl - self.clip.surrogate(ratio, advantage)).sum()
        return Sums(loss, {"policy/kl": kl.detach().sum(), **self.clip.metrics(ratio, advantage)})
