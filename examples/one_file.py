"""Coupled-GRPO (DiffuCoder, arXiv 2506.20639) in one file: the algorithm without the distributed system.

    .venv/bin/python examples/one_file.py --steps 8

Masks, weights, likelihood estimate, advantage, ratio, clip, KL and the update are written out here in plain torch.
From the library come the parts that are not the algorithm: the model and its tokenizer, the tasks, the sandbox
that runs their tests, and the engine that denoises completions. So do the random numbers, which are functions of
seed, group and sample: a distributed run with ``admission.max_staleness=0`` draws the same ones. It ends with the
same weights up to the order of floating-point sums; tests/system/test_same_weights.py compares the two.

Letters in shapes: G samples of a group (completions of one task), P tokens of its prompt, L tokens of a
completion, V = 3 views (masked copies) of a completion.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common import rng
from common.config import Config, load_config
from common.models.loading import load_model
from common.models.packing import Packing
from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Task
from orchestrator.curriculum import Curriculum, load_data
from reward_service.reward_actor import make_scorer
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.requests import Request

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of coupled-GRPO; the defaults are the quick start's, with fewer groups in a step."""

    seed: int = 0
    steps: int = 8
    groups_per_step: int = 8
    inner_iterations: int = 2  # mu: updates on the same groups, each with fresh masks
    clip: float = 0.5  # epsilon of the ratio's clip
    kl_weight: float = 0.01  # beta
    leave_one_out: bool = True  # baseline of a sample: the mean of the other samples, or of all
    reference_sync_steps: int = 64
    reference_sync_share: float = 0.6
    learning_rate: float = 2e-4
    final_share: float = 0.1  # of the learning rate, to which it falls linearly
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    max_grad_norm: float = 0.2


@dataclass(frozen=True)
class Group:
    """G completions of one task. ``prompt`` [P]; ``completions`` [G, L]; ``valid`` [G, L]: up to the end of the
    text, which alone counts; ``rewards`` [G]; ``advantages`` [G]."""

    index: int
    prompt: Tensor
    completions: Tensor
    valid: Tensor
    rewards: Tensor
    advantages: Tensor


def train(config: Config, settings: Settings) -> Iterator[tuple[int, float, MaskedDiffusionModel]]:
    """Train and yield, after each step, its number from 1, its mean reward, and the model, which goes on changing.

    ``config`` says what is not the algorithm: model, tasks, rewards and how completions are sampled.
    """
    torch.set_num_threads(config.model.threads)
    policy = load_model(config.model.path)  # pi_theta
    reference = copy.deepcopy(policy).requires_grad_(False)  # pi_ref
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=0.0, betas=settings.betas, weight_decay=settings.weight_decay
    )
    rollouts = Rollouts(config, settings)
    updates = settings.steps * settings.inner_iterations
    update = 0
    for step in range(settings.steps):
        numbers = range(step * settings.groups_per_step, (step + 1) * settings.groups_per_step)
        groups = [rollouts.group(policy, number) for number in numbers]
        reward = float(torch.cat([group.rewards for group in groups]).mean())
        # Where all samples have one reward, every advantage is 0: the group says nothing and is left out.
        groups = [group for group in groups if group.rewards.min() < group.rewards.max()]
        if not groups:
            yield step + 1, reward, policy
            continue
        # log pi_old under the weights that sampled, for the masks of each inner iteration: kept before any update.
        with torch.no_grad():
            old = [
                [estimate(policy, group, settings.seed, iteration) for group in groups]
                for iteration in range(settings.inner_iterations)
            ]
        # The loss is a mean over all valid tokens of the step, whichever sample they belong to.
        tokens = sum(int(group.valid.sum()) for group in groups)
        for iteration in range(settings.inner_iterations):
            optimizer.zero_grad()
            for group, log_old in zip(groups, old[iteration], strict=True):
                log_new = estimate(policy, group, settings.seed, iteration)
                with torch.no_grad():
                    log_reference = estimate(reference, group, settings.seed, iteration)
                total = loss(group, log_new, log_old, log_reference, settings)
                torch.autograd.backward(total / tokens)  # gradients of the groups add up
            # g <- g min(1, max_grad_norm / ||g||_2)
            torch.nn.utils.clip_grad_norm_(policy.parameters(), settings.max_grad_norm)
            share = 1.0 - (1.0 - settings.final_share) * update / updates
            optimizer.param_groups[0]["lr"] = settings.learning_rate * share
            optimizer.step()
            update += 1
            if update % settings.reference_sync_steps == 0:
                follow(reference, policy, settings.reference_sync_share)
        yield step + 1, reward, policy


class Rollouts:
    """Sample completions for the tasks of a run, score them, and turn rewards into advantages."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._encoder = PromptEncoder(config.model.path, chat_template=False)
        self._curriculum = Curriculum(load_data(config, [])[0], settings.seed)
        self._scorer = make_scorer(config.reward)

    def group(self, policy: MaskedDiffusionModel, index: int) -> Group:
        """Make the group of this number: o_1 … o_G ~ pi_theta( . | prompt), r_i, A_i."""
        task = self._curriculum.task(index)
        prompt = self._encoder.encode(task)
        completions, ends = self._complete(policy, prompt, index)
        rewards = self._rewards(task, completions, ends)
        ids = torch.tensor(completions)
        # The token that ends the text counts as well: the model has to learn when to stop.
        valid = torch.arange(ids.shape[1]) <= torch.tensor(ends)[:, None]
        advantages = group_advantages(rewards, self._settings.leave_one_out)
        return Group(index, torch.tensor(prompt), ids, valid, rewards, advantages)

    def _complete(
        self, policy: MaskedDiffusionModel, prompt: tuple[int, ...], index: int
    ) -> tuple[list[tuple[int, ...]], list[int]]:
        """Denoise G completions, from L masks each; returns their ids [G, L] and where each text ends [G]."""
        requests = [
            Request(prompt, NoiseKey(self._settings.seed, "noise-train", (0, index, sample)))
            for sample in range(self._config.rollout.group_size)
        ]
        engine = DenoiseLoop(TorchDenoiser(copy.deepcopy(policy)), self._config.rollout.batch_tokens)
        found = engine.run(requests, self._config.rollout.sampler())
        return [completion.ids for completion in found], [completion.end for completion in found]

    def _rewards(self, task: Task, completions: list[tuple[int, ...]], ends: list[int]) -> Tensor:
        """Run the task's tests on each program in the sandbox; rewards [G]."""
        texts = [self._encoder.decode(ids[:end]) for ids, end in zip(completions, ends, strict=True)]
        scores = self._scorer.score_group(task, texts)
        if any(score.masked for score in scores):
            raise RuntimeError(
                f"the sandbox could not run the tests of {task.id}: couplet doctor looks for the cause"
            )
        return torch.tensor([score.reward for score in scores], dtype=torch.float64)


def group_advantages(rewards: Tensor, leave_one_out: bool) -> Tensor:
    """A_i = r_i - mean_j r_j (algorithm 1), or r_i - mean_{j != i} r_j, which is that times G / (G - 1)."""
    advantages = rewards - rewards.mean()
    if leave_one_out:
        advantages = advantages * len(rewards) / (len(rewards) - 1)
    return advantages.float()


def draw_views(seed: int, group: int, sample: int, iteration: int, length: int) -> tuple[Tensor, Tensor]:
    """Draw the masks [V, L] of a completion and what a token's log-probability counts for in each view [V, L].

    View 0 masks everything. View 1 masks each position with probability r, r ~ U(0.2, 0.8), and view 2 the
    complement of view 1 (equation 4): each token is masked in view 0 and in exactly one of the two others. The
    weights are 1, B / r and (1 - B) / (1 - r), all over lambda + 1 = 2 (equation 13 with lambda = 1 pair).
    """
    random = rng.stream(seed, "masks", group, sample, iteration)
    ratio = random.uniform(0.2, 0.8)
    chosen = torch.from_numpy(random.random(length) < ratio)  # B
    masks = torch.stack([torch.ones_like(chosen), chosen, ~chosen])
    scale = torch.tensor([1.0, 1.0 / ratio, 1.0 / (1.0 - ratio)], dtype=torch.float64)
    return masks, (masks * scale[:, None] / 2.0).float()


def estimate(model: MaskedDiffusionModel, group: Group, seed: int, iteration: int) -> Tensor:
    """Estimate log pi(o_k | prompt) of every token, [G, L]: a weighted sum of log p over the views (equation 13).

    The masks depend on seed, group, sample and iteration alone: new, old and reference policy are measured under
    the same ones, so that their differences are differences of the policies.
    """
    count, length = group.completions.shape
    drawn = [draw_views(seed, group.index, sample, iteration, length) for sample in range(count)]
    masks = torch.stack([views for views, _ in drawn])  # [G, V, L]
    weights = torch.stack([scales for _, scales in drawn])  # [G, V, L]
    counted = masks & group.valid[:, None]
    log_p = torch.where(counted, log_probabilities(model, group, masks), 0.0)
    return (weights * log_p).sum(1)


def log_probabilities(model: MaskedDiffusionModel, group: Group, masks: Tensor) -> Tensor:
    """Return log p_theta(o_k | prompt, o with the masked positions hidden), [G, V, L]."""
    samples, views, length = masks.shape
    hidden_tokens = torch.full_like(group.completions, model.config.mask_token_id)
    completions = torch.where(masks, hidden_tokens[:, None], group.completions[:, None])  # [G, V, L]
    prompts = group.prompt.expand(samples, views, -1)  # [G, V, P]
    canvases = torch.cat([prompts, completions], dim=-1).flatten(0, 1)  # [G V, P + L]
    # The model takes sequences one after the other in a single row, each of which sees only itself.
    states = model.hidden(canvases.flatten(), Packing.of([canvases.shape[1]] * len(canvases)))
    places = torch.arange(canvases.numel()).view_as(canvases)[:, -length:].flatten()
    # Models adapted from autoregressive ones predict a token one position to the left of it.
    logits = model.logits(states[model.source_rows(places)])  # [G V L, vocabulary]
    targets = group.completions[:, None].expand(samples, views, length).flatten()
    log_p = logits.log_softmax(-1).gather(1, targets[:, None])
    return log_p.view(samples, views, length)


def loss(group: Group, log_new: Tensor, log_old: Tensor, log_reference: Tensor, settings: Settings) -> Tensor:
    """Sum beta KL - min(rho A, clip(rho, 1 - eps, 1 + eps) A) over the valid tokens (equations 2 and 5)."""
    ratio = torch.exp(log_new - log_old)  # rho_k = pi_theta / pi_old
    advantages = group.advantages[:, None]
    clipped = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    # k3: an estimate of KL(pi_theta || pi_ref) that is never negative.
    difference = log_reference - log_new
    kl = torch.exp(difference) - difference - 1.0
    return (settings.kl_weight * kl - surrogate)[group.valid].sum()


@torch.no_grad()
def follow(reference: MaskedDiffusionModel, policy: MaskedDiffusionModel, share: float) -> None:
    """theta_ref <- (1 - share) theta_ref + share theta."""
    for mine, theirs in zip(reference.parameters(), policy.parameters(), strict=True):
        mine.lerp_(theirs, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    given = parser.parse_args()
    config = load_config(RECIPE, [f"run.seed={given.seed}", "data.train_tasks=200", "data.held_out_tasks=1"])
    for step, reward, _ in train(config, Settings(seed=given.seed, steps=given.steps)):
        print(f"step {step}/{given.steps}  reward {reward:.2f}", flush=True)


if __name__ == "__main__":
    main()
