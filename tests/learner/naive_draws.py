"""BGPO, GDSD and StableDRL as their sources write them: one sample, draw and token at a time, in plain torch.

As in :mod:`tests.learner.naive_grpo`, nothing of the learner is used but the record of a sample; the random
numbers are the run's, from the same keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from common import rng
from common.config import (
    BgpoConfig,
    ElboBlocksConfig,
    ElboConfig,
    ElboSystematicConfig,
    GdsdConfig,
    LearnerConfig,
    StableDrlConfig,
)
from common.models.transformer import MaskedDiffusionModel
from learner.samples import TrainingSample
from tests.learner.naive_grpo import view_log_probabilities

#: Of one draw, for every token: its weights, and its log-probabilities where it is masked.
Draw = list[list[tuple[float, Tensor]]]


def draws(
    model: MaskedDiffusionModel, sample: TrainingSample, config: LearnerConfig, seed: int, iteration: int
) -> list[Draw]:
    """Every draw of a completion's likelihood under the estimator of ``config``."""
    random = rng.stream(seed, "masks", sample.group, sample.sample, iteration)
    estimator, length, valid = config.estimator, len(sample.completion_ids), sample.valid_tokens
    found = []
    if isinstance(estimator, ElboConfig):
        for _ in range(estimator.mask_pairs):
            size = int(random.integers(0, length + 1))
            subset = {int(k) for k in random.permutation(length)[:size]}
            sides = [subset, set(range(length)) - subset]
            found.append(_draw(model, sample, [(side, (length + 1) / len(side) / 2) for side in sides if side]))
    elif isinstance(estimator, ElboBlocksConfig):
        size = estimator.block_length
        order = random.permutation(max(math.ceil(length / size), estimator.blocks))
        for block in order[: estimator.blocks]:
            start = int(block) % math.ceil(valid / size) * size
            stop = min(start + size, valid)
            count = int(random.integers(1, stop - start + 1))
            subset = {start + int(k) for k in random.permutation(stop - start)[:count]} | set(range(stop, length))
            subset |= {k for k, draw in enumerate(random.random(start)) if draw < estimator.prompt_mask}
            hidden = random.random(len(sample.prompt_ids)) < estimator.prompt_mask
            prompt = (
                model.config.mask_token_id if h else t for h, t in zip(hidden, sample.prompt_ids, strict=True)
            )
            shown = replace(sample, prompt_ids=tuple(prompt))
            found.append(_draw(model, shown, [(subset, valid / len([k for k in subset if k < valid]))]))
    else:
        assert isinstance(estimator, ElboSystematicConfig)
        start = int(random.integers(1, valid + 1))
        for number in range(estimator.subsets):
            size = round(start + number * valid / estimator.subsets)
            size = size if size <= valid else size - valid
            subset = {int(k) for k in random.permutation(valid)[:size]}
            found.append(_draw(model, sample, [(subset, valid / size)]))
    return found


def _draw(model: MaskedDiffusionModel, sample: TrainingSample, views: Sequence[tuple[set[int], float]]) -> Draw:
    """A draw of some views, each its masked positions and what a token counts there."""
    tokens: Draw = [[] for _ in range(sample.valid_tokens)]
    for masked, weight in views:
        scores = view_log_probabilities(model, sample, [k in masked for k in range(len(sample.completion_ids))])
        for k in sorted(masked):
            if k < sample.valid_tokens:
                tokens[k].append((weight, scores[k]))
    return tokens


def bound(draw: Draw) -> Tensor:
    """The evidence lower bound of a draw: the weighted log-probabilities of its tokens, added up."""
    return torch.stack([weight * score for token in draw for weight, score in token]).sum()


def upper_bound(sample_draws: Sequence[Draw], token: int, beta: float) -> Tensor:
    """1/beta log E[p^beta / t] of a token, the expectation over all views that mask it."""
    terms = [w / len(sample_draws) * (beta * score).exp() for draw in sample_draws for w, score in draw[token]]
    return torch.stack(terms).sum().log() / beta


def bgpo(
    new: MaskedDiffusionModel,
    old: MaskedDiffusionModel,
    reference: MaskedDiffusionModel,
    samples: Sequence[TrainingSample],
    config: LearnerConfig,
    seed: int,
    iteration: int,
) -> Tensor:
    """The mean over draws of a linear or exponential ratio, clipped on two or three sides, over all tokens."""
    objective = config.objective
    assert isinstance(objective, BgpoConfig)
    low, high = 1 - objective.clip, 1 + (objective.clip if objective.clip_high is None else objective.clip_high)
    total, tokens = torch.zeros(()), 0
    for sample in samples:
        with torch.no_grad():
            before = draws(old, sample, config, seed, iteration)
        now = draws(new, sample, config, seed, iteration)
        for mine, theirs in zip(now, before, strict=True):
            change = (bound(mine) - bound(theirs)) / len(sample.completion_ids)
            ratio = 1 + change if sample.advantage > 0 else change.exp()
            loss = torch.max(-sample.advantage * ratio, -sample.advantage * ratio.clamp(low, high))
            if sample.advantage < 0:
                loss = loss.clamp(max=-sample.advantage * objective.dual_clip)
            total = total + sample.valid_tokens * loss / len(now)
        tokens += sample.valid_tokens
    return total / tokens


def gdsd(
    new: MaskedDiffusionModel,
    old: MaskedDiffusionModel,
    reference: MaskedDiffusionModel,
    samples: Sequence[TrainingSample],
    config: LearnerConfig,
    seed: int,
    iteration: int,
) -> Tensor:
    """The squared distance of each draw's change from psi times the advantage, and a squared change as KL."""
    objective = config.objective
    assert isinstance(objective, GdsdConfig)
    total = torch.zeros(())
    for sample in samples:
        length = sample.valid_tokens
        with torch.no_grad():
            before = draws(old, sample, config, seed, iteration)
            anchor = draws(reference, sample, config, seed, iteration)
        now = draws(new, sample, config, seed, iteration)
        for mine, theirs, first in zip(now, before, anchor, strict=True):
            change = bound(mine) - bound(theirs)
            clipped = change.clamp(math.log(1 - objective.clip), math.log(1 + objective.clip))
            distance = bound(mine) - bound(first)
            total = total + (clipped / length - objective.psi * sample.advantage) ** 2
            total = total + objective.kl_weight * distance**2 / 2 / length / len(now)
    return total / len(samples)


def stable_drl(
    new: MaskedDiffusionModel,
    old: MaskedDiffusionModel,
    reference: MaskedDiffusionModel,
    samples: Sequence[TrainingSample],
    config: LearnerConfig,
    seed: int,
    iteration: int,
) -> Tensor:
    """SPG's bounds, each group's weighed by a softmax of capped changes of the lower one."""
    objective = config.objective
    assert isinstance(objective, StableDrlConfig)
    total = torch.zeros(())
    groups = {sample.group for sample in samples}
    for group in groups:
        weights, values = [], []
        for sample in (sample for sample in samples if sample.group == group):
            now = draws(new, sample, config, seed, iteration)
            with torch.no_grad():
                before = draws(old, sample, config, seed, iteration)
            lower = torch.stack([bound(draw) for draw in now]).mean() / sample.valid_tokens
            earlier = torch.stack([bound(draw) for draw in before]).mean() / sample.valid_tokens
            weights.append(min(math.exp(float((lower - earlier).detach())), objective.ratio_cap))
            value = lower
            if sample.advantage < 0:
                measured = [k for k in range(sample.valid_tokens) if any(draw[k] for draw in now)]
                uppers = [upper_bound(now, k, objective.beta) for k in measured]
                upper = torch.stack(uppers).mean()
                value = objective.mix * upper + (1 - objective.mix) * lower
            values.append(sample.advantage * value)
        for weight, value in zip(weights, values, strict=True):
            total = total - weight / sum(weights) * value
    return total / len(groups)
