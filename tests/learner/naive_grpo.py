"""Coupled-GRPO as the paper writes it: one sample, one view, one token at a time, in plain torch.

Nothing of the learner is used here but the record of a sample: no estimator, packing, policy, objective, optimizer
or schedule. The random numbers are the run's, from the same keys.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common import rng
from common.config import CoupledConfig, GrpoConfig, LearnerConfig
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from learner.samples import TrainingSample


def view_log_probabilities(
    model: MaskedDiffusionModel, sample: TrainingSample, masked: Sequence[bool]
) -> list[Tensor]:
    """log p(o_k | prompt, completion with ``masked`` masked) for every k; logits lie one position to the left."""
    mask_id = model.config.mask_token_id
    canvas = [mask_id if out else token for token, out in zip(sample.completion_ids, masked, strict=True)]
    ids = torch.tensor([*sample.prompt_ids, *canvas])
    hidden = model.hidden(ids, Packing.of([len(ids)]))
    logits = hidden @ model.lm_head.weight.T
    possible = torch.tensor([token != mask_id for token in range(model.config.vocab_size)])
    found = []
    for position, token in enumerate(sample.completion_ids):
        left = logits[len(sample.prompt_ids) + position - 1]
        found.append(left[token] - left[possible].exp().sum().log())
    return found


def token_estimates(
    model: MaskedDiffusionModel, sample: TrainingSample, config: CoupledConfig, seed: int, iteration: int
) -> list[Tensor]:
    """Equation 4 for every token: (full mask + for each pair the side that masks it / its rate) / (pairs + 1)."""
    length = len(sample.completion_ids)
    draws = rng.stream(seed, "masks", sample.group, sample.sample, iteration)
    everything = view_log_probabilities(model, sample, [True] * length)
    pairs = []
    for _ in range(config.mask_pairs):
        low, high = config.mask_ratio
        rate = low + (high - low) * draws.random()
        subset = [bool(draw < rate) for draw in draws.random(length)]
        inside = view_log_probabilities(model, sample, subset)
        outside = view_log_probabilities(model, sample, [not bit for bit in subset])
        pairs.append((rate, subset, inside, outside))
    total = config.mask_pairs + 1 if config.weighting == "paper" else 2 * config.mask_pairs + 1
    estimates = []
    for position in range(length):
        estimate = everything[position]
        for rate, subset, inside, outside in pairs:
            if subset[position]:
                estimate = estimate + inside[position] / rate
            else:
                estimate = estimate + outside[position] / (1 - rate)
        estimates.append(estimate / total)
    return estimates


def grpo(
    new: MaskedDiffusionModel,
    old: MaskedDiffusionModel,
    reference: MaskedDiffusionModel,
    samples: Sequence[TrainingSample],
    config: LearnerConfig,
    seed: int,
    iteration: int,
) -> Tensor:
    """Clipped surrogate and k3 KL, averaged over all valid tokens of all samples."""
    estimator, objective = config.estimator, config.objective
    assert isinstance(estimator, CoupledConfig)
    assert isinstance(objective, GrpoConfig)
    total, tokens = torch.zeros(()), 0
    for sample in samples:
        current = token_estimates(new, sample, estimator, seed, iteration)
        with torch.no_grad():
            before = token_estimates(old, sample, estimator, seed, iteration)
            anchor = token_estimates(reference, sample, estimator, seed, iteration)
        for k in range(sample.valid_tokens):
            ratio = (current[k] - before[k]).exp()
            clipped = ratio.clamp(1 - objective.clip, 1 + objective.clip)
            surrogate = torch.min(ratio * sample.advantage, clipped * sample.advantage)
            kl = (anchor[k] - current[k]).exp() - (anchor[k] - current[k]) - 1
            total = total - surrogate + objective.kl_weight * kl
            tokens += 1
    return total / tokens


def train(
    model: MaskedDiffusionModel,
    samples_of: Callable[[int], Sequence[TrainingSample]],
    steps: int,
    config: LearnerConfig,
    seed: int,
    total_updates: int,
) -> tuple[dict[str, Tensor], list[float]]:
    """The reference loop, training ``model`` in place; the reference policy's weights and all gradient norms."""
    settings = config.optimizer
    reference = copy.deepcopy(model)
    matrices = [p for name, p in model.named_parameters() if "norm" not in name and "bias" not in name]
    others = [p for name, p in model.named_parameters() if "norm" in name or "bias" in name]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=settings.betas,
        eps=1e-8,
    )
    update, norms = 0, []
    for step in range(steps):
        old = copy.deepcopy(model)
        for iteration in range(config.inner_iterations):
            done = update / total_updates
            share = settings.final_share + (1 - settings.final_share) * (1 + math.cos(math.pi * done)) / 2
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * share
            optimizer.zero_grad()
            loss = grpo(model, old, reference, samples_of(step), config, seed, iteration)
            torch.autograd.backward(loss)
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)))
            optimizer.step()
            update += 1
            if update % config.reference_sync_steps == 0:
                with torch.no_grad():
                    for mine, theirs in zip(reference.parameters(), model.parameters(), strict=True):
                        mine.copy_((1 - config.reference_sync_share) * mine + config.reference_sync_share * theirs)
    return dict(reference.named_parameters()), norms
