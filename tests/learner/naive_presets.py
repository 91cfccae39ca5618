"""Every preset as a plain loop: one sample, one view, one token at a time, and gradient descent.

Nothing of the learner is used but the record of a sample. Formulas are those of the papers' released code, as
docs/algorithms.md has them; the random numbers are the run's, from the same keys.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean, pstdev, stdev
from typing import Any

import torch
from torch import Tensor

from common import rng
from common.config import LearnerConfig
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.records import TrajectoryGroup
from learner.samples import TrainingSample
from tests.learner import naive_draws

#: A pair of a view's masked positions (of the prompt and of the completion) and the weight of each position.
View = tuple[list[bool], list[bool], list[float]]
#: (weight, log p) of every view that masks a valid token, for every such token.
Rows = dict[int, list[tuple[float, Tensor]]]
#: Values of a metric, one a token or completion that is measured.
Values = dict[str, list[float]]


def samples_of(groups: Sequence[TrajectoryGroup], config: LearnerConfig) -> list[TrainingSample]:
    """Advantages of the groups; excluded samples count for nothing, flat groups as the configuration says."""
    found = []
    for group in groups:
        assert group.rollouts is not None
        valid = [i for i, score in enumerate(group.scores) if not score.excluded]
        rewards = [group.scores[i].reward for i in valid]
        if len(set(rewards)) < 2 and config.zero_variance_groups == "skip":
            continue
        for i, reward in zip(valid, rewards, strict=True):
            rollout = group.rollouts.rollouts[i]
            length = len(rollout.completion_ids)
            found.append(
                TrainingSample(
                    prompt_ids=group.rollouts.prompt_ids,
                    completion_ids=rollout.completion_ids,
                    valid_tokens=length if config.positions == "all" else min(rollout.end + 1, length),
                    step_map=rollout.step_map,
                    group=group.prompt.index,
                    sample=i,
                    reward=reward,
                    advantage=advantage_of(reward, rewards, config.advantage),
                )
            )
    return found


def advantage_of(reward: float, rewards: Sequence[float], mode: str) -> float:
    if len(rewards) < 2:
        return 0.0
    above = reward - fmean(rewards)
    match mode:
        case "loo":
            return reward - (sum(rewards) - reward) / (len(rewards) - 1)
        case "mean_std":
            return above / (pstdev(rewards) + 1e-4)
        case "mean_sample_std":
            return above / (stdev(rewards) + 1e-4)
    return above


def views_of(sample: TrainingSample, config: LearnerConfig, seed: int, iteration: int) -> list[View]:
    draws = rng.stream(seed, "masks", sample.group, sample.sample, iteration)
    prompt, length, valid = len(sample.prompt_ids), len(sample.completion_ids), sample.valid_tokens
    clean, full = [False] * prompt, [True] * length
    settings: Any = config.estimator
    views: list[View] = []
    match settings.kind:
        case "coupled":
            views.append((clean, full, [0.5] * length))
            rate = draws.uniform(*settings.mask_ratio)
            subset = [bool(draw < rate) for draw in draws.random(length)]
            views.append((clean, subset, [0.5 / rate] * length))
            views.append((clean, [not out for out in subset], [0.5 / (1 - rate)] * length))
        case "full_mask":
            hidden = [bool(draw < settings.prompt_mask) for draw in draws.random(prompt)]
            views.append((hidden, full, [1.0] * length))
        case "random_mask":
            start = rng.stream(seed, "mask-ratio", sample.group, sample.sample).random()
            rate = (start + iteration / config.inner_iterations) % 1.0
            views.append((clean, [bool(draw < rate) for draw in draws.random(length)], [1.0] * length))
        case "elbo":
            for _ in range(settings.mask_pairs):
                count = int(draws.integers(0, length + 1))
                chosen = set(draws.permutation(length)[:count].tolist())
                for size, side in ((count, True), (length - count, False)):
                    weight = (length + 1) / max(size, 1) / (2 * settings.mask_pairs)
                    views.append((clean, [(k in chosen) is side for k in range(length)], [weight] * length))
        case "elbo_systematic":
            start = int(draws.integers(1, valid + 1))
            for number in range(settings.subsets):
                count = round(start + number * valid / settings.subsets)
                count -= valid if count > valid else 0
                chosen = set(draws.permutation(valid)[:count].tolist())
                weight = valid / count / settings.subsets
                views.append((clean, [k in chosen for k in range(length)], [weight] * length))
        case "elbo_quadrature":
            far = math.sqrt(3 / 5)
            for node, share in ((-far, 5 / 9), (0.0, 8 / 9), (far, 5 / 9)):
                rate = (1 + node) / 2
                masked = [bool(draw < rate) for draw in draws.random(length)]
                views.append((clean, masked, [share / 2 / rate] * length))
        case "elbo_blocks":
            size = settings.block_length
            blocks, written = math.ceil(length / size), math.ceil(valid / size)
            for block in draws.permutation(max(blocks, settings.blocks))[: settings.blocks]:
                start = int(block) % written * size
                inside = min(start + size, valid) - start
                count = int(draws.integers(1, inside + 1))
                chosen = {start + int(k) for k in draws.permutation(inside)[:count]}
                before = [bool(draw < settings.prompt_mask) for draw in draws.random(start)]
                hidden = [bool(draw < settings.prompt_mask) for draw in draws.random(prompt)]
                masked = [*before, *(k in chosen or k >= start + inside for k in range(start, length))]
                views.append((hidden, masked, [valid / sum(masked[:valid]) / settings.blocks] * length))
        case "trace":
            steps = sorted(set(sample.step_map[:valid]))
            for first in range(0, len(steps), settings.merged_steps):
                merged = steps[first : first + settings.merged_steps]
                when = [*sample.step_map[:valid], *[math.inf] * (length - valid)]
                views.append((clean, [w >= merged[0] for w in when], [float(w in merged) for w in when]))
        case "left_to_right":
            for k in range(length):
                own = [float(position == k) for position in range(length)]
                views.append((clean, [position >= k for position in range(length)], own))
    return views


def log_probabilities(model: MaskedDiffusionModel, sample: TrainingSample, view: View) -> list[Tensor]:
    """log p of every token of the completion; logits lie one position to the left."""
    mask_id = model.config.mask_token_id
    tokens, masked = [*sample.prompt_ids, *sample.completion_ids], [*view[0], *view[1]]
    ids = torch.tensor([mask_id if out else token for token, out in zip(tokens, masked, strict=True)])
    logits = model.hidden(ids, Packing.of([len(ids)])) @ model.lm_head.weight.T
    logits = logits.masked_fill(torch.arange(model.config.vocab_size) == mask_id, -torch.inf)
    first = len(sample.prompt_ids)
    scores = logits[first - 1 : -1].log_softmax(-1)
    return [scores[k, token] for k, token in enumerate(sample.completion_ids)]


@dataclass(frozen=True)
class Update:
    """What one update is given; ``policies`` are the new, the old and the reference."""

    policies: tuple[MaskedDiffusionModel, MaskedDiffusionModel, MaskedDiffusionModel]
    config: LearnerConfig
    seed: int
    iteration: int

    def rows(self, policy: int, sample: TrainingSample) -> Rows:
        """Those of all views."""
        return self._rows(policy, sample, views_of(sample, self.config, self.seed, self.iteration))

    def draws(self, policy: int, sample: TrainingSample) -> list[Rows]:
        """Those of each draw, a pair of views or a view, weighed as if it were the only one."""
        views = views_of(sample, self.config, self.seed, self.iteration)
        size = 2 if self.config.estimator.kind == "elbo" else 1
        count = len(views) // size
        alone = [(prompt, masked, [count * weight for weight in weights]) for prompt, masked, weights in views]
        return [self._rows(policy, sample, alone[draw * size :][:size]) for draw in range(count)]

    def _rows(self, policy: int, sample: TrainingSample, views: Sequence[View]) -> Rows:
        found: Rows = defaultdict(list)
        with torch.set_grad_enabled(policy == 0):
            for view in views:
                for k, score in enumerate(log_probabilities(self.policies[policy], sample, view)):
                    if k < sample.valid_tokens and view[1][k] and view[2][k]:
                        found[k].append((view[2][k], score))
        return found

    def estimates(self, policy: int, sample: TrainingSample) -> dict[int, Tensor]:
        rows = self.rows(policy, sample).items()
        return {k: torch.stack([weight * score for weight, score in found]).sum() for k, found in rows}

    def likelihood(self, policy: int, sample: TrainingSample) -> Tensor:
        """The estimate of a whole completion."""
        return torch.stack([*self.estimates(policy, sample).values(), torch.zeros(())]).sum()


def clipped(ratio: Tensor, advantage: float, clip: float) -> Tensor:
    return torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def loss_of(update: Update, terms: Sequence[Sequence[TrainingSample]], values: Values) -> tuple[Tensor, float]:
    """The loss of an update before its division, and what it is divided by."""
    settings: Any = update.config.objective
    samples = [sample for term in terms for sample in term]
    total = torch.zeros(())
    match settings.kind:
        case "grpo":
            anchor_policy = 1 if settings.kl_to == "step_start" else 2
            for sample in samples:
                new, old = update.estimates(0, sample), update.estimates(1, sample)
                anchor = update.estimates(anchor_policy, sample) if settings.kl_weight else new
                for k in new:
                    ratio, distance = (new[k] - old[k]).exp(), anchor[k] - new[k]
                    kl = distance.exp() - distance - 1
                    total = total + settings.kl_weight * kl - clipped(ratio, sample.advantage, settings.clip)
                    values["policy/ratio_mean"].append(ratio.item())
                    values["policy/kl"].append(kl.item() if settings.kl_weight else 0.0)
            return total, sum(sample.valid_tokens for sample in samples)
        case "sequence":
            for sample in samples:
                new, old = update.likelihood(0, sample), update.likelihood(1, sample)
                if not update.rows(0, sample):
                    continue
                length = len(sample.completion_ids)  # as released: all positions, also after the end
                ratio, kl = ((new - old) / length).exp(), torch.zeros(())
                if settings.kl_weight:
                    kl = (new - update.likelihood(2, sample)) ** 2 / (2 * length)
                total = total + settings.kl_weight * kl - clipped(ratio, sample.advantage, settings.clip)
                values["policy/ratio_mean"].append(ratio.item())
                values["policy/kl"].append(kl.item())
            return total, len(samples)
        case "wd1":
            for sample in samples:
                total = total - sample.advantage * update.likelihood(0, sample)
            return total, len({sample.group for sample in samples})
        case "spg":
            for sample in samples:
                rows, length = update.rows(0, sample), sample.valid_tokens
                lower = update.likelihood(0, sample) / length
                powers = [
                    torch.stack([weight * (settings.beta * score).exp() for weight, score in found]).sum()
                    for found in rows.values()
                ]
                upper = torch.stack([power.log() / settings.beta for power in powers]).mean()
                mixed = settings.mix * upper + (1 - settings.mix) * lower
                total = total - sample.advantage * length * (lower if sample.advantage >= 0 else mixed)
            return total, sum(sample.valid_tokens for sample in samples)
        case "vrpo":
            for better, worse in terms:
                gains = [update.likelihood(0, s) - update.likelihood(2, s) for s in (better, worse)]
                margin = settings.beta * (gains[0] - gains[1])
                total = total + (1 + (-margin).exp()).log()
                values["policy/preference_margin"].append(margin.item())
            return total, len(terms)
        case "bgpo":
            return naive_draws.bgpo(update, samples, values)
        case "gdsd":
            return naive_draws.gdsd(update, samples, values)
        case "stable_drl":
            return naive_draws.stable_drl(update, terms, values)
    raise AssertionError(settings.kind)


def terms_of(samples: Sequence[TrainingSample], kind: str) -> list[list[TrainingSample]]:
    """What has its part in one term of the loss: a pair of vrpo, a group of stable_drl, else a sample; wd1's
    advantages are weights."""
    if kind not in ("wd1", "vrpo", "stable_drl"):
        return [[sample] for sample in samples]
    found = []
    for group in groups_of([[sample] for sample in samples]):
        members = [sample for [sample] in group]
        if kind == "stable_drl":
            found.append(members)
            continue
        if kind == "vrpo":
            ranked = sorted(members, key=lambda sample: -sample.reward)
            found += [[a, b] for a, b in zip(ranked, ranked[::-1], strict=True) if a.reward > b.reward]
            continue
        up, down = (sum(math.exp(side * s.advantage) for s in members) for side in (1, -1))
        for s in members:
            weight = math.exp(s.advantage) / up - math.exp(-s.advantage) / down
            found.append([replace(s, advantage=weight)])
    return found


def groups_of(terms: Sequence[Sequence[TrainingSample]]) -> list[list[Sequence[TrainingSample]]]:
    numbers = dict.fromkeys(term[0].group for term in terms)
    return [[term for term in terms if term[0].group == number] for number in numbers]


def shares_of(terms: Sequence[Sequence[TrainingSample]], count: int) -> list[list[Sequence[TrainingSample]]]:
    """Minibatches: as many groups in each, the first ones take what is left over; of terms with too few groups."""
    parts = groups_of(terms)
    if len(parts) < count:
        parts = [[term] for term in terms]
    size, more = divmod(len(parts), count)
    left = iter(parts)
    taken = [list(islice(left, size + (number < more))) for number in range(count)]
    return [[term for part in share for term in part] for share in taken if share]


def train(
    model: MaskedDiffusionModel,
    groups_at: Callable[[int], Sequence[TrajectoryGroup]],
    steps: int,
    config: LearnerConfig,
    seed: int,
    total_updates: int,
) -> list[dict[str, float]]:
    """Train ``model`` in place; return the metrics of each step."""
    settings, reference, update, metrics = config.optimizer, copy.deepcopy(model), 0, []
    for step in range(steps):
        old = copy.deepcopy(model)
        shares = shares_of(
            terms_of(samples_of(groups_at(step), config), config.objective.kind), config.minibatches
        )
        values: Values = defaultdict(list)
        losses = counts = 0.0
        for iteration in range(config.inner_iterations):
            for terms in shares:
                given = Update((model, old, reference), config, seed, iteration)
                total, count = loss_of(given, terms, values)
                gradients = torch.autograd.grad(total / count, list(model.parameters()), allow_unused=True)
                rate = settings.learning_rate * (1 - (1 - settings.final_share) * update / total_updates)
                with torch.no_grad():
                    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                        if gradient is not None:
                            parameter -= rate * gradient
                losses, counts, update = losses + total.item(), counts + count, update + 1
                if update % config.reference_sync_steps == 0:
                    with torch.no_grad():
                        for mine, theirs in zip(reference.parameters(), model.parameters(), strict=True):
                            mine += config.reference_sync_share * (theirs - mine)
        metrics.append({"policy/loss": losses / counts} | {name: fmean(found) for name, found in values.items()})
    return metrics
