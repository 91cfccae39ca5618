"""The losses of BGPO, GDSD and StableDRL as their sources write them: one draw and one token at a time.

Each returns the loss of an update before its division, and what it is divided by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learner.samples import TrainingSample

if TYPE_CHECKING:
    from tests.learner.naive_presets import Rows, Update, Values


def bound(rows: Rows) -> Tensor:
    """The evidence lower bound: the weighted log-probabilities of a completion's tokens, added up."""
    return torch.stack([weight * score for token in rows.values() for weight, score in token]).sum()


def bgpo(update: Update, samples: Sequence[TrainingSample], values: Values) -> tuple[Tensor, float]:
    """A linear or an exponential ratio of each draw, clipped on two or three sides, for all tokens alike."""
    settings: Any = update.config.objective
    low, high = 1 - settings.clip, 1 + (settings.clip_high or settings.clip)
    total = torch.zeros(())
    for sample in samples:
        new, old, advantage = update.draws(0, sample), update.draws(1, sample), sample.advantage
        for mine, theirs in zip(new, old, strict=True):
            change = (bound(mine) - bound(theirs)) / len(sample.completion_ids)
            ratio = 1 + change if advantage > 0 else change.exp()
            loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(low, high))
            if advantage < 0:
                loss = loss.clamp(max=-advantage * settings.dual_clip)
            total = total + sample.valid_tokens * loss / len(new)
            values["policy/ratio_mean"].append(ratio.item())
    return total, sum(sample.valid_tokens for sample in samples)


def gdsd(update: Update, samples: Sequence[TrainingSample], values: Values) -> tuple[Tensor, float]:
    """The squared distance of each draw's change from psi times the advantage, and a squared change as KL."""
    settings: Any = update.config.objective
    low, high = math.log(1 - settings.clip), math.log(1 + settings.clip)
    total = torch.zeros(())
    for sample in samples:
        new, old = update.draws(0, sample), update.draws(1, sample)
        anchor = update.draws(2, sample) if settings.kl_weight else new
        for mine, theirs, first in zip(new, old, anchor, strict=True):
            change, distance = bound(mine) - bound(theirs), bound(mine) - bound(first)
            miss = change.clamp(low, high) / sample.valid_tokens - settings.psi * sample.advantage
            kl = distance**2 / 2 / sample.valid_tokens
            total = total + miss**2 + settings.kl_weight * kl / len(new)
            values["policy/kl"].append(kl.item())
            values["policy/clip_fraction"].append(float(not low <= change.item() <= high))
    return total, len(samples)


def stable_drl(update: Update, groups: Sequence[Sequence[TrainingSample]], values: Values) -> tuple[Tensor, float]:
    """SPG's bounds, each group's weighed by its capped ratios over their sum."""
    settings: Any = update.config.objective
    total = torch.zeros(())
    for group in groups:
        weights, bounds = [], []
        for sample in group:
            rows, length = update.rows(0, sample), sample.valid_tokens
            lower = bound(rows) / length
            ratio = math.exp(lower.item() - bound(update.rows(1, sample)).item() / length)
            values["policy/ratio_mean"].append(ratio)
            weights.append(min(ratio, settings.ratio_cap))
            if sample.advantage < 0:
                powers = [
                    torch.stack([weight * (settings.beta * score).exp() for weight, score in token]).sum()
                    for token in rows.values()
                ]
                upper = torch.stack([power.log() / settings.beta for power in powers]).mean()
                lower = settings.mix * upper + (1 - settings.mix) * lower
            bounds.append(sample.advantage * lower)
        for weight, value in zip(weights, bounds, strict=True):
            total = total - weight / sum(weights) * value
    return total, len(groups)
