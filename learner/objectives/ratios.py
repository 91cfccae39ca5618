"""What objectives share that compare policies: the clipped ratio, and the KL to a policy before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from learner.objectives.objective import SampleBySample, Sums

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows

KlEstimator = Literal["k2", "k3"]
#: The policy that a KL is to: the reference, or the one that the step began with.
Anchor = Literal["reference", "step_start"]


def kl_estimate(new: Tensor, anchor: Tensor | None, estimator: KlEstimator) -> Tensor:
    """Estimate the KL to another policy from log-likelihoods, elementwise; 0 without ``anchor``."""
    if anchor is None:
        return new.new_zeros(new.shape)
    difference = anchor - new
    return difference.square() / 2.0 if estimator == "k2" else difference.exp() - difference - 1.0


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
        """Return min(ratio A, clip(ratio, 1 - low, 1 + high) A), elementwise."""
        return (ratio * advantage).minimum(ratio.clamp(1.0 - self.low, 1.0 + self.high) * advantage)

    def metrics(self, ratio: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        """Sum the ratios, and count those whose gradient the clip stops, below and above."""
        below = ((ratio < 1.0 - self.low) & (advantage < 0)).sum()
        above = ((ratio > 1.0 + self.high) & (advantage > 0)).sum()
        return dict(zip(self.metric_names, (ratio.detach().sum(), below, above, below + above), strict=True))


@dataclass(frozen=True)
class ClippedRatios(SampleBySample):
    """A clipped policy gradient with a KL; of what the ratios are, tokens or completions, a subclass says."""

    clip: Clip
    kl_weight: float
    kl: KlEstimator = "k3"
    kl_to: Anchor = "reference"

    needs_old = True
    metric_names = ("policy/kl", *Clip.metric_names)

    @property
    def needs_reference(self) -> bool:
        return self.kl_weight > 0 and self.kl_to == "reference"

    def anchor(self, tokens: TokenRows) -> Tensor | None:
        """Return the estimates [T] of the policy that the KL is to; None where they are the policy's own."""
        return tokens.reference if self.kl_to == "reference" else tokens.old

    def sums_of(self, new: Tensor, old: Tensor | None, kl: Tensor, advantage: Tensor) -> Sums:
        """Compute the loss of units from their log-likelihoods, KLs and advantages; ``old`` None is ``new``."""
        ratio = (new - (new.detach() if old is None else old)).exp()
        loss = (self.kl_weight * kl - self.clip.surrogate(ratio, advantage)).sum()
        metrics = {"policy/kl": kl.detach().sum(), **self.clip.metrics(ratio, advantage)}
        return Sums(loss, metrics, units=new.numel())
