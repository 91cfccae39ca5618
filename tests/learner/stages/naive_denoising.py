"""The loss of the supervised stages written out: a document at a time through transformers' own Qwen2, its whole
[l, l] attention mask, all logits, and loops over tokens."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import get_scheduler

from benchmarks.naive_denoise import stock_model
from common import rng
from common.config import StageConfig
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel
from learner.stages.segments import Segment


@dataclass
class Drawn:
    """What a segment draws: its tokens, which are masked, which may be and are predicted, and its ratio."""

    ids: list[int]
    masked: list[bool]
    target: list[bool]
    pad: list[bool]
    ratio: float


def draw(segment: Segment, config: StageConfig, epochs: float, shift: bool) -> Drawn:
    settings = config.objective
    stream = rng.stream(config.run.seed, "denoising", *segment.key)
    place, cut, length, keep, prefix, conditional = (float(stream.random()) for _ in range(6))
    uniform = [float(stream.random()) for _ in segment.ids]
    ratio = settings.t_min + (1 - settings.t_min) * place
    ids = segment.ids.tolist()
    pads = [i >= len(ids) - segment.padding for i in range(len(ids))]
    spared = 0
    if segment.prompt:
        phase = settings.phase_in_epochs
        if conditional < (1.0 if phase == 0 else min(1.0, epochs / phase)):
            spared = segment.prompt
    else:
        if cut < settings.truncate_share:
            ids = ids[: math.floor(length * len(ids)) + 1]
        if keep < settings.prefix_share:
            spared = math.floor(prefix * len(ids)) + 1
    masked = [i >= spared and uniform[i] < ratio for i in range(len(ids))]
    target = [i >= spared and not (shift and i == 0) for i in range(len(ids))]
    return Drawn(ids, masked, target, pads[: len(ids)], ratio)


def attention(config: StageConfig, step: int, length: int) -> Tensor:
    """Which positions see which, [length, length]."""
    steps = config.objective.annealing_steps
    if not steps or step + 1 >= steps:
        return torch.ones(length, length, dtype=torch.bool)
    context = config.data.context_length
    draws = rng.stream(config.run.seed, "attention annealing", step).random((context, context), dtype="float32")
    return torch.tensor(
        [[j <= i or bool(draws[i, j] < (step + 1) / steps) for j in range(length)] for i in range(length)]
    )


def cross_entropies(stock: Any, model: ModelConfig, drawn: Drawn, sees: Tensor) -> Tensor:
    """The cross-entropy of every token, [l], NaN for one that nothing predicts."""
    canvas = [model.mask_token_id if m else i for i, m in zip(drawn.ids, drawn.masked, strict=True)]
    bias = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    logits = stock(torch.tensor([canvas]), attention_mask=bias[None, None]).logits[0]
    logits = logits.index_fill(-1, torch.tensor(model.forbidden_token_ids), -torch.inf)
    losses = []
    for i, token in enumerate(drawn.ids):
        source = i - 1 if model.shift else i
        losses.append(-logits[source].log_softmax(-1)[token] if source >= 0 else torch.tensor(math.nan))
    return torch.stack(losses)


def loss(
    stock: Any, model: ModelConfig, segments: Sequence[Segment], config: StageConfig, step: int, epochs: float
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a step, and the metrics that come with it."""
    total, targets, masked = torch.zeros(()), 0, 0
    parts: dict[str, list[float]] = defaultdict(list)
    for segment in segments:
        drawn = draw(segment, config, epochs, model.shift)
        losses = cross_entropies(stock, model, drawn, attention(config, step, len(drawn.ids)))
        for i in range(len(drawn.ids)):
            targets += drawn.target[i]
            if drawn.target[i] and drawn.masked[i]:
                masked += 1
                weight = config.objective.pad_weight if drawn.pad[i] else 1.0
                total = total + weight * losses[i] / drawn.ratio
                if weight:
                    parts[f"loss_at_t/{min(9, math.floor(10 * drawn.ratio))}"].append(losses[i].item())
                    parts[f"loss_at_position/{math.floor(8 * i / len(drawn.ids))}"].append(losses[i].item())
    count = targets if config.objective.normalization == "tokens" else masked
    value = total / max(1, count)
    metrics = {f"denoising/{key}": sum(values) / len(values) for key, values in parts.items()}
    metrics |= {"denoising/loss": value.item(), "denoising/masked_share": masked / targets}
    return value, metrics | {"data/targets": masked}


@torch.no_grad()
def held_out(model: MaskedDiffusionModel, segments: Sequence[Segment], config: StageConfig) -> dict[str, float]:
    """The losses of an evaluation."""
    stock = stock_model(model, torch.float32)
    found = {}
    for ratio in config.evaluation.ratios:
        measured = []
        for segment in segments:
            uniform = rng.stream(config.run.seed, "held-out denoising", *segment.key).random(len(segment))
            length, end = len(segment), len(segment) - segment.padding
            masked = [i >= segment.prompt and bool(uniform[i] < ratio) for i in range(length)]
            target = [segment.prompt <= i < end and not (model.config.shift and i == 0) for i in range(length)]
            drawn = Drawn(segment.ids.tolist(), masked, target, [], ratio)
            sees = torch.ones(length, length, dtype=torch.bool)
            losses = cross_entropies(stock, model.config, drawn, sees)
            measured += [float(losses[i]) for i in range(length) if masked[i] and target[i]]
        found[f"held_out/loss_at_t/{ratio}"] = sum(measured) / len(measured)
    return found | {"held_out/loss": sum(found.values()) / len(found)}


def train(
    model: MaskedDiffusionModel,
    segments_of: Callable[[int], Sequence[Segment]],
    config: StageConfig,
    first: int,
    steps: int,
    epochs_of: Callable[[int], float],
    total_steps: int,
    sgd: bool,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train a copy of ``model`` from step ``first`` on, 0 with AdamW; its weights and the steps' metrics."""
    stock = stock_model(model, torch.float32).requires_grad_(True)
    stock.model.embed_tokens.padding_idx = None  # else the pad token, which is learned, would have no gradient
    settings = config.learner.optimizer
    matrices = [p for name, p in stock.named_parameters() if "norm" not in name and "bias" not in name]
    others = [p for name, p in stock.named_parameters() if "norm" in name or "bias" in name]
    optimizer: torch.optim.Optimizer
    if sgd:
        optimizer = torch.optim.SGD(stock.parameters(), lr=settings.learning_rate)
        schedule = get_scheduler("constant", optimizer)
    else:
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=settings.betas,
        )
        schedule = get_scheduler(
            "cosine_with_min_lr",
            optimizer,
            settings.warmup_steps,
            total_steps,
            scheduler_specific_kwargs={"min_lr_rate": settings.final_share},
        )
    found = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        value, metrics = loss(stock, model.config, segments_of(step), config, step, epochs_of(step))
        torch.autograd.backward(value)
        norm = torch.nn.utils.clip_grad_norm_(stock.parameters(), settings.max_grad_norm)
        found.append(metrics | {"optim/grad_norm": float(norm), "optim/learning_rate": schedule.get_last_lr()[0]})
        optimizer.step()
        schedule.step()
    return {name: p.detach() for name, p in stock.named_parameters()}, found
