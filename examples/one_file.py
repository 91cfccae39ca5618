"""Coupled-GRPO in one file and one process: no Ray, no Redis, no DeepSpeed.

Run it from a clone with ``python examples/one_file.py run.steps=8``; it takes about a minute on a laptop. The
numbers of equations and algorithms are those of the DiffuCoder paper, arXiv 2506.20639. The algorithm stands
here in plain torch. Four things come from the library, because their code would say nothing about the
algorithm: the model, the denoising engine (:mod:`rollout_workers.engine`), the sandbox that runs the tests, and
the output layer that computes log-probabilities a chunk of rows at a time. With ``admission.max_staleness: 0``
a distributed run with one learner rank ends with these weights, bit for bit
(``tests/system/test_same_weights.py``).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from common import rng
from common.config import Config, load_config
from common.models.loading import load_model
from common.models.log_probabilities import ChunkedLoss, Span, Targets, TokenLogProbs
from common.models.packing import Packing
from common.models.prompts import PromptEncoder
from common.models.spared_rows import SparedRows
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Score, Task
from orchestrator.curriculum import Curriculum, load_data
from reward_service.configured import make_scorer
from reward_service.scoring import Scorer
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request

ITERATIONS = 2  # mu, updates on the same samples
MASK_RATIO = (0.2, 0.8)  # the range of the mask ratio r
CLIP = 0.5  # epsilon of the clipped ratio
KL_WEIGHT = 0.01  # beta of the KL to the reference
REFERENCE_EVERY, REFERENCE_SHARE = 64, 0.6  # updates between syncs of the reference, and how far it moves


Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Sample:
    """Completion ``number`` of the group with this index, and its advantage.

    ``valid`` counts the tokens up to and including the end of the text: only they are trained on.
    """

    group: int
    number: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    valid: int
    advantage: float


@dataclass(frozen=True)
class Batch:
    """The views of n samples in one row of N tokens, without padding.

    A masked token in one view is a target: ``targets`` [m] says what it hides, ``weights`` [m] what it counts in
    the estimate of token ``token`` [m]. ``rows`` [u] are the places whose distributions are asked for, and
    ``row_of`` [m] says which of them gives a target. ``advantages`` [T] are those of the T tokens.
    """

    ids: Tensor
    packing: Packing
    rows: Tensor
    row_of: Tensor
    targets: Tensor
    weights: Tensor
    token: Tensor
    advantages: Tensor

    def estimate(self, logprobs: Tensor) -> Tensor:
        """Sum the weighted log-probabilities [m] of each token: the estimates [T] of equation 4."""
        return torch.zeros(len(self.advantages)).index_add(0, self.token, self.weights * logprobs)


def train(config: Config, report: Callable[[str], None]) -> MaskedDiffusionModel:
    """Run algorithm 1 of the paper for ``config.run.total_steps`` steps and return the trained model."""
    torch.set_num_threads(config.model.threads)
    learner, settings, seed = config.learner, config.learner.optimizer, config.run.seed
    model = load_model(config.model.path)
    reference = copy.deepcopy(model).requires_grad_(False)
    parameters = list(model.parameters())
    # Biases and the weights of norms do not decay.
    matrices, vectors = ([p for p in parameters if (p.ndim > 1) == wanted] for wanted in (True, False))
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        betas=settings.betas,
    )
    encoder = PromptEncoder(config.model.path, config.data)
    tasks = Curriculum(load_data(config, [])[0], seed)
    updates, update = config.run.total_steps * ITERATIONS, 0
    with closing(make_scorer(config.reward)) as scorer:
        for step in range(config.run.total_steps):
            samples: list[Sample] = []
            rewards: list[float] = []
            first = step * learner.groups_per_step
            for group in range(first, first + learner.groups_per_step):
                written, scores = roll_out(config, model, encoder, scorer, tasks.task(group), group)
                rewards += [score.reward for score in scores if not score.excluded]
                samples += training_samples(group, encoder.encode(tasks.task(group)), written, scores)
            report(f"step {step + 1}/{config.run.total_steps}  mean reward {np.mean(rewards):.3f}")
            if not samples:
                continue
            samples.sort(key=lambda sample: -len(sample.prompt))  # the order in which the system packs them
            tokens = sum(sample.valid for sample in samples)
            # Each inner iteration draws its own masks, and compares the policy with that at the step's beginning
            # under the same masks. In the first iteration the two policies are one.
            batches = [draw_views(model, samples, seed, i) for i in range(ITERATIONS)]
            old = [None, *(batch.estimate(log_probabilities(model, batch)) for batch in batches[1:])]
            for batch, before in zip(batches, old, strict=True):
                anchor = batch.estimate(log_probabilities(reference, batch))
                optimizer.zero_grad()
                torch.autograd.backward(loss_of(model, batch, before, anchor) * (1.0 / tokens))
                clip_gradients(parameters, settings.max_grad_norm)
                fall = (1.0 - settings.final_share) * (update / updates)
                for part in optimizer.param_groups:
                    part["lr"] = settings.learning_rate * (1.0 - fall)
                optimizer.step()
                update += 1
                if update % REFERENCE_EVERY == 0:
                    follow(reference, model)
    return model


def roll_out(
    config: Config, model: MaskedDiffusionModel, encoder: PromptEncoder, scorer: Scorer, task: Task, group: int
) -> tuple[Sequence[Completion], Sequence[Score]]:
    """Let the current policy write G completions of a task, and run the task's tests on each of them."""
    prompt = encoder.encode(task)
    keys = [NoiseKey(config.run.seed, "noise-train", (0, group, i)) for i in range(config.rollout.group_size)]
    engine = DenoisingEngine(TorchDenoiser(copy.deepcopy(model)), config.rollout.batch_tokens)
    written = engine.run([Request(prompt, key) for key in keys], config.rollout.sampler())
    texts = [encoder.answer(task, completion.completion_ids[: completion.end]) for completion in written]
    return written, scorer.score_group(task, texts)


def training_samples(
    group: int, prompt: tuple[int, ...], written: Sequence[Completion], scores: Sequence[Score]
) -> list[Sample]:
    """Turn the rewards of a group into advantages.

    Algorithm 1 takes A_i = r_i - mean(r). The released code, and this file, takes the mean of the other
    completions: A_i = (r_i - mean(r)) G / (G - 1). A completion that the sandbox failed to judge does not count.
    Where all rewards are the same, the advantages are 0, and the tokens still count in the mean and in the KL.
    """
    judged = [i for i, score in enumerate(scores) if not score.excluded]
    rewards = np.array([scores[i].reward for i in judged])
    if len(set(rewards.tolist())) < 2:
        advantages = np.zeros(len(rewards))
    else:
        advantages = (rewards - rewards.mean()) * (len(rewards) / (len(rewards) - 1))
    return [
        Sample(group, i, prompt, written[i].completion_ids, written[i].text_tokens, float(advantage))
        for i, advantage in zip(judged, advantages, strict=True)
    ]


def complementary_masks(seed: int, sample: Sample, iteration: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the three views of a completion of L tokens: their masks and weights, both [3, L].

    Equation 13 with lambda = 1: r ~ U(0.2, 0.8), a mask B that hides each token with probability r, and its
    complement. The estimate is half of log p under the full mask, plus B log p / r + (1 - B) log p / (1 - r).
    """
    random, length = rng.stream(seed, "masks", sample.group, sample.number, iteration), len(sample.completion)
    r = random.uniform(*MASK_RATIO)
    hidden = random.random(length) < r
    masks = np.stack([np.ones(length, dtype=bool), hidden, ~hidden])
    weights = np.stack([np.ones(length), hidden / r, ~hidden / (1.0 - r)]) / 2.0
    return masks, weights


def draw_views(model: MaskedDiffusionModel, samples: Sequence[Sample], seed: int, iteration: int) -> Batch:
    """Lay the three views of every sample side by side, and list the masked tokens whose log p is asked for.

    Samples of a prompt share the view in which all is masked: the model sees the same there.
    """
    sequences: dict[tuple[int, ...], int] = {}  # with their numbers
    targets: list[tuple[int, int, int, float]] = []  # position, number of sample and of sequence, weight
    for number, sample in enumerate(samples):
        masks, weights = complementary_masks(seed, sample, iteration)
        views = []
        for mask in masks:
            shown = np.where(mask, model.config.mask_token_id, sample.completion)
            views.append(sequences.setdefault((*sample.prompt, *shown.tolist()), len(sequences)))
        for k, view in zip(*np.nonzero(masks.T[: sample.valid]), strict=True):
            targets.append((int(k), number, views[view], float(weights[view, k])))
    targets.sort(key=lambda target: target[0])  # the order in which the system sums them
    packing = Packing.of([len(sequence) for sequence in sequences])
    tokens = number_distinct([(k, number) for k, number, _, _ in targets])
    places = [packing.starts[sequence] + len(samples[n].prompt) + k for k, n, sequence, _ in targets]
    rows = number_distinct(places)
    return Batch(
        ids=packing.pack(list(sequences)),
        packing=packing,
        rows=torch.tensor(list(rows)),
        row_of=torch.tensor([rows[place] for place in places]),
        targets=torch.tensor([samples[number].completion[k] for k, number, _, _ in targets]),
        weights=torch.tensor([weight for _, _, _, weight in targets], dtype=torch.float32),
        token=torch.tensor([tokens[k, number] for k, number, _, _ in targets]),
        advantages=torch.tensor([samples[number].advantage for _, number in tokens]),
    )


def number_distinct(things: Sequence[Thing]) -> dict[Thing, int]:
    """Number the different things in the order in which they first occur."""
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def head_targets(model: MaskedDiffusionModel, batch: Batch) -> Targets:
    """Say what the output layer computes, in one chunk."""
    everything = Span(slice(0, len(batch.targets)), slice(0, len(batch.rows)))
    return Targets(batch.targets, model.forbidden, [everything], batch.row_of)


def hidden_states(model: MaskedDiffusionModel, batch: Batch) -> Tensor:
    """Run the model once over all views and return the states [u, H] that predict the rows.

    The first and the last layer leave out what they do in the system, as sums of other rows round differently.
    """
    spared = SparedRows.of(batch.ids, batch.packing, batch.rows)
    return model.hidden(batch.ids, batch.packing, model.source_rows(batch.rows), spared=spared)


@torch.no_grad()
def log_probabilities(model: MaskedDiffusionModel, batch: Batch) -> Tensor:
    """Compute log p(o_k | prompt, the other tokens as the view shows them) of every target, [m]."""
    function = partial(TokenLogProbs.apply, head_targets(model, batch))
    found: Tensor = model.apply_head(hidden_states(model, batch), function)
    return found


def loss_of(model: MaskedDiffusionModel, batch: Batch, old: Tensor | None, reference: Tensor) -> Tensor:
    """Sum the loss of equation 2 over all tokens: the clipped surrogate, and the KL to the reference.

    ``old`` [T] are the estimates at the step's beginning (None: these very weights), ``reference`` [T] those of
    the reference policy.
    """

    def grpo(_: slice, logprobs: Tensor) -> Tensor:
        new = batch.estimate(logprobs)
        ratio = torch.exp(new - (new.detach() if old is None else old))
        clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
        surrogate = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        distance = reference - new
        kl = torch.exp(distance) - distance - 1.0  # the k3 estimator: never negative, without bias
        return (KL_WEIGHT * kl - surrogate).sum()

    # The library differentiates the loss while the logits are at hand: those of the whole batch never exist.
    found: tuple[Tensor, Tensor, Tensor] = model.apply_head(
        hidden_states(model, batch), partial(ChunkedLoss.apply, head_targets(model, batch), grpo)
    )
    return found[0]


def clip_gradients(parameters: Sequence[torch.nn.Parameter], largest: float) -> None:
    """Scale the gradient down to the norm ``largest`` if it is longer."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).square().sum().sqrt()
    scale = torch.clamp(torch.tensor(largest) / (norm + 1e-6), max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


@torch.no_grad()
def follow(reference: MaskedDiffusionModel, model: MaskedDiffusionModel) -> None:
    """Move the reference 0.6 of the way to the policy, as the released code does."""
    for slow, fast in zip(reference.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, REFERENCE_SHARE)


if __name__ == "__main__":
    recipe = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
    overrides = ["run.steps=8", "learner.groups_per_step=8", "run.folder=unused", *sys.argv[1:]]
    train(load_config(recipe, overrides), print)
