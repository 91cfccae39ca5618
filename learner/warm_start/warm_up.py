"""The quick start's warm start: a small model, trained to denoise solutions that are wrong on purpose.

The corpus holds systematic misconceptions and random bugs, so the model learns the language of the tasks and a
mediocre idea of their meaning. What it learns afterwards, it learns from rewards.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common import rng
from common.config import OptimizerConfig
from common.models.config import ModelConfig
from common.models.loading import save_model
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.optimizer import learning_rate, set_learning_rate
from learner.policy import Policy
from learner.samples import TrainingSample
from learner.warm_start.supervised import denoising_loss
from learner.warm_start.synthetic import SyntheticTask, noisy_solution
from learner.warm_start.tokenizer import END_ID, MASK_ID, save_tokenizer, train_tokenizer

# Muon for the hidden matrices, AdamW for the rest: in minutes on a CPU, AdamW alone learns hardly anything.
_MUON = OptimizerConfig(learning_rate=6e-3, weight_decay=0.0, warmup_steps=21, final_share=0.02)
_ADAMW = _MUON.model_copy(update={"learning_rate": 3e-3})
_MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class WarmUp:
    """Settings of the warm start; the defaults are those of the shipped one."""

    seed: int = 0
    steps: int = 1600
    batch: int = 64
    completion_length: int = 28
    vocab_size: int = 448
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 4
    heads: int = 4


def warm_up(
    tasks: tuple[SyntheticTask, ...],
    target: Path,
    settings: WarmUp,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train and write a model folder. ``progress`` is told the step and its loss."""
    corpus_random = random.Random(f"{settings.seed} corpus")
    texts = [t.task.prompt for t in tasks] + [noisy_solution(t, corpus_random) for t in tasks]
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    config = ModelConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        mask_token_id=MASK_ID,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(settings.seed))
    policy = Policy(model)
    muon, adamw = _optimizers(policy)
    noise = rng.stream(settings.seed, "warm-up")
    prompts = [tuple(tokenizer.encode(t.task.prompt).ids) for t in tasks]
    for step in range(settings.steps):
        samples = []
        for index in noise.choice(len(tasks), settings.batch, replace=False):
            ids = tokenizer.encode(noisy_solution(tasks[index], corpus_random)).ids
            ids = ids[: settings.completion_length]
            tail = settings.completion_length - len(ids)
            samples.append(
                TrainingSample(
                    group=int(index),
                    sample=0,
                    prompt_ids=prompts[index],
                    completion_ids=(*ids, *[END_ID] * tail),
                    valid_tokens=settings.completion_length,
                    advantage=0.0,
                )
            )
        # From 1: at the schedule's step 0 the rate is 0.
        set_learning_rate(muon, learning_rate(_MUON, step + 1, settings.steps + 1))
        set_learning_rate(adamw, learning_rate(_ADAMW, step + 1, settings.steps + 1))
        policy.zero_grad()
        loss = denoising_loss(policy, samples, noise, torch.device("cpu"))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), _MAX_GRAD_NORM)
        muon.step()
        adamw.step()
        progress(step + 1, float(loss.detach()))
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, Path(folder))
        save_model(config, model.named_parameters(), target, source=Path(folder))


def _optimizers(policy: Policy) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in policy.named_parameters():
        hidden = parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name
        (matrices if hidden else others).append(parameter)
    muon = torch.optim.Muon(matrices, lr=_MUON.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, lr=_ADAMW.learning_rate, betas=_ADAMW.betas, weight_decay=0.0)
