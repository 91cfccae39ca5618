"""Parts of objectives that compare policies: the clipped ratio and the KL to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

KlEstimator = Literal["k2", "k3"]


def kl_to_reference(new: Tensor, reference: Tensor | None, estimator: KlEstimator) -> Tensor:
    """Estimate the KL to the reference from log-likelihoods, elementwise; 0 without a reference."""
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
        """Return min(ratio A, clip(ratio, 1 - low, 1 + high) A), elementwise."""
        return torch.minimum(ratio * advantage, ratio.clamp(1.0 - self.low, 1.0 + self.high) * advantage)

    def metrics(self, ratio: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        """Sum the ratios, and count those whose gradient the clip stops, below and above."""
        below = ((ratio < 1.0 - self.low) & (advantage < 0)).sum()
        above = ((ratio > 1.0 + self.high) & (advantage > 0)).sum()
        return dict(zip(self.metric_names, (ratio.detach().sum(), below, above, below + above), strict=True))
