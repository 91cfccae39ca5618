"""The synchronous algorithm as a plain loop in one process: what a run with max_staleness 0 must equal."""

from __future__ import annotations

import copy

import torch

from common.config import Config
from common.likelihood.coupled import CoupledEstimator
from common.models.config import ModelConfig
from common.models.loading import load_model, model_folder
from common.models.prompts import PromptEncoder
from common.records import NoiseKey
from learner.advantages import group_advantages, has_variance
from learner.batch import PackedViews, pack_views
from learner.objectives.registry import make_objective
from learner.partition import Piece
from learner.policy import Policy
from learner.samples import TrainingSample
from orchestrator.curriculum import Curriculum, load_data
from reward_service.reward_actor import make_scorer
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.requests import Request


def reference_loop(config: Config) -> torch.nn.Module:
    """Coupled-GRPO without Ray, Redis, DeepSpeed or micro-batches."""
    learner, seed = config.learner, config.run.seed
    torch.set_num_threads(config.model.threads)
    model = load_model(config.model.path)
    policy, reference = Policy(model), Policy(copy.deepcopy(model)).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=0.0, betas=learner.optimizer.betas, weight_decay=learner.optimizer.weight_decay
    )
    encoder = PromptEncoder(config.model.path, chat_template=False)
    curriculum = Curriculum(load_data(config, [])[0], seed)
    scorer = make_scorer(config.reward)
    updates = config.run.steps * learner.inner_iterations
    update = 0
    for step in range(config.run.steps):
        first = step * learner.groups_per_step
        samples = []
        for index in range(first, first + learner.groups_per_step):
            samples += roll_out(config, model, encoder, scorer, curriculum.task(index), index)
        tokens = sum(sample.valid_tokens for sample in samples)
        if not samples:
            continue
        objective = make_objective(learner.objective)
        with torch.no_grad():
            old = [estimates(policy, views(config, samples, i)) for i in range(learner.inner_iterations)]
        for iteration in range(learner.inner_iterations):
            packed = views(config, samples, iteration)
            with torch.no_grad():
                packed = packed.with_estimates(old=old[iteration], reference=estimates(reference, packed))
            optimizer.zero_grad()
            (objective.sums(packed.tokens, policy.log_probs(packed)).loss / tokens).backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), learner.optimizer.max_grad_norm)
            share = 1.0 - (1.0 - learner.optimizer.final_share) * update / updates
            optimizer.param_groups[0]["lr"] = learner.optimizer.learning_rate * share
            optimizer.step()
            update += 1
    return model


def roll_out(config: Config, model, encoder, scorer, task, index: int) -> list[TrainingSample]:
    ids = encoder.encode(task)
    requests = [
        Request(ids, NoiseKey(config.run.seed, "noise-train", (0, index, i)))
        for i in range(config.rollout.group_size)
    ]
    loop = DenoiseLoop(TorchDenoiser(copy.deepcopy(model)), config.rollout.batch_tokens)
    completions = loop.run(requests, config.rollout.sampler())
    scores = scorer.score_group(task, [encoder.decode(c.ids[: c.end]) for c in completions])
    rewards, valid = [score.reward for score in scores], [not score.masked for score in scores]
    if not has_variance(rewards, valid):
        return []
    advantages = group_advantages(rewards, valid, config.learner.advantage)
    return [
        TrainingSample(
            group=index,
            sample=i,
            prompt_ids=ids,
            completion_ids=c.ids,
            valid_tokens=min(c.end + 1, len(c.ids)),
            advantage=advantage,
        )
        for i, (c, advantage) in enumerate(zip(completions, advantages, strict=True))
    ]


def estimates(policy: Policy, packed: PackedViews) -> torch.Tensor:
    return packed.tokens.estimates(policy.log_probs(packed))


def views(config: Config, samples: list[TrainingSample], iteration: int) -> PackedViews:
    drawn = [CoupledEstimator().views(sample.key(config.run.seed, iteration), sample) for sample in samples]
    mask_token_id = ModelConfig.from_folder(model_folder(config.model.path)).mask_token_id
    pieces = [Piece(sample, (0, 1, 2)) for sample in samples]
    return pack_views(pieces, drawn, mask_token_id, torch.device("cpu"))
