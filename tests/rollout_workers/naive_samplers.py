"""The published samplers as plainly as they can be written: left-padded batches through the transformers library,
logits of every position, whole-vocabulary sorts, no early stop. Greedy, so that no random number has to agree.

The random numbers that decide the *order* of ``origin`` and ``random`` are arguments, one per position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from common.models.folder import model_folder
from common.models.loading import save_model
from common.models.transformer import MaskedDiffusionModel
from common.records import Sampler

PAD = -1


@dataclass
class NaiveResult:
    """Tokens [n, L] and the step at which each was committed [n, L]."""

    tokens: Tensor
    steps: Tensor


def transformers_model(model: MaskedDiffusionModel, folder: Path) -> Any:
    """The same weights in the library's stock architecture."""
    save_model(model.config, model.named_parameters(), folder, model_folder("builtin:quickstart"))
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()


@torch.no_grad()
def padded_logits(library: Any, canvas: Tensor, model: MaskedDiffusionModel) -> Tensor:
    """[n, T, V] logits that predict each position of a left-padded canvas [n, T]; padding is -1."""
    real = canvas != PAD
    allowed = torch.zeros(canvas.shape[0], 1, canvas.shape[1], canvas.shape[1])
    allowed.masked_fill_(~real[:, None, None, :], torch.finfo(torch.float32).min)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    logits = library(canvas.clamp(min=0), attention_mask=allowed, position_ids=positions, use_cache=False).logits
    if model.config.shift:
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
    logits[..., list(model.config.forbidden_token_ids)] = -torch.inf
    return logits


def filtered(logits: Tensor, top_p: float, top_k: int) -> Tensor:
    """Logits [m, V] with everything outside top-p and top-k at -inf, by sorting."""
    logits = logits.clone()
    if top_p < 1:
        ordered, ids = logits.sort(descending=True)
        remove = ordered.softmax(-1).cumsum(-1) > top_p
        remove = torch.cat([torch.zeros_like(remove[:, :1]), remove[:, :-1]], 1)
        logits[torch.zeros_like(remove).scatter(1, ids, remove)] = -torch.inf
    if top_k:
        logits[logits < logits.topk(top_k).values[:, -1:]] = -torch.inf
    return logits


def dream(
    library: Any, model: MaskedDiffusionModel, prompts: Sequence[Sequence[int]], sampler: Sampler, order: Tensor
) -> NaiveResult:
    """Dream's loop; its budget of a step is the batch's mean number of masked tokens, truncated."""
    length, steps, mask = sampler.completion_length, sampler.denoising_steps, model.config.mask_token_id
    canvas, first = _canvas(prompts, length, mask)
    when = torch.full((len(prompts), length), -1)
    times = torch.linspace(1, 1e-3, steps + 1)
    for i in range(steps):
        masked = canvas == mask
        t, s = times[i], times[i + 1]
        logits = padded_logits(library, canvas, model)[masked]
        x0 = logits.argmax(-1)
        probabilities = filtered(logits, sampler.top_p, sampler.top_k).softmax(-1)
        if sampler.decoder == "origin":
            share = 1 - s / t if i < steps - 1 else 1.0
            fresh = torch.zeros(masked.shape)
            fresh[:, first:] = 1 - order / t  # uniform on what is still masked at time t
            chosen = masked & (fresh <= share)
            canvas[chosen] = x0[chosen[masked]]
        else:
            per_row = masked.sum() / masked.shape[0]
            count = int(per_row * (1 - s / t)) if i < steps - 1 else int(per_row)
            if sampler.decoder == "maskgit_plus":
                confidence = probabilities.max(-1).values
            elif sampler.decoder == "topk_margin":
                ordered = probabilities.sort(descending=True).values
                confidence = ordered[:, 0] - ordered[:, 1]
            else:
                confidence = (probabilities * (probabilities + 1e-10).log()).sum(-1)
            table = torch.full(canvas.shape, -torch.inf)
            table[masked] = confidence
            candidates = torch.full(canvas.shape, mask)
            candidates[masked] = x0
            chosen = torch.zeros_like(masked)
            if count:
                chosen.scatter_(1, table.topk(count).indices, True)
            canvas[chosen] = candidates[chosen]
        when[chosen[:, first:]] = i
    return NaiveResult(canvas[:, first:], when)


def llada(
    library: Any, model: MaskedDiffusionModel, prompts: Sequence[Sequence[int]], sampler: Sampler, order: Tensor
) -> NaiveResult:
    """LLaDA's loop over semi-autoregressive blocks; ``threshold`` is Fast-dLLM's change to it."""
    length, mask = sampler.completion_length, model.config.mask_token_id
    canvas, first = _canvas(prompts, length, mask)
    when = torch.full((len(prompts), length), -1)
    block = sampler.block_length or length
    steps = sampler.denoising_steps // (length // block)
    step = 0
    for start in range(first, first + length, block):
        base, rest = divmod(block, steps)
        for i in range(steps):
            masked = canvas == mask
            if not masked[:, start : start + block].any():
                break
            logits = padded_logits(library, canvas, model)
            x0 = logits.argmax(-1)
            confidence = logits.softmax(-1).gather(-1, x0.unsqueeze(-1)).squeeze(-1)
            if sampler.decoder == "random":
                confidence = torch.zeros(canvas.shape)
                confidence[:, first:] = 1 - order
            confidence[~masked] = -torch.inf
            confidence[:, start + block :] = -torch.inf
            chosen = torch.zeros_like(masked)
            for row in range(len(prompts)):
                if sampler.decoder == "threshold":
                    chosen[row] = confidence[row] > sampler.threshold
                    if not chosen[row].any() and masked[row, : start + block].any():
                        chosen[row, confidence[row].argmax()] = True
                else:
                    chosen[row, confidence[row].topk(base + (i < rest)).indices] = True
            canvas[chosen] = x0[chosen]
            when[chosen[:, first:]] = step
            step += 1
    return NaiveResult(canvas[:, first:], when)


def _canvas(prompts: Sequence[Sequence[int]], length: int, mask: int) -> tuple[Tensor, int]:
    width = max(map(len, prompts))
    rows = [[PAD] * (width - len(prompt)) + list(prompt) + [mask] * length for prompt in prompts]
    return torch.tensor(rows), width
