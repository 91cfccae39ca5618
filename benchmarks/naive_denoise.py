"""The published sampler of Dream and DiffuCoder (``diffusion_generate``) with the entropy decoder, plainly.

Prompts are padded on the left, the vocabulary is scored at every position in the model's dtype, top-p sorts it for
every masked position, and no row ends early. Three departures keep it comparable: the mask token and vocabulary
padding are never predicted, padding is hidden as keys alone (the published mask hides it as queries too, whose
states nothing reads), and probabilities are not checked to sum to one before sampling (bf16 ones can miss it, upon
which the published code takes the most likely tokens instead).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical
from transformers import Qwen2Config, Qwen2ForCausalLM

from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel
from common.records import Sampler

_SMALLEST_TIME = 1e-3
_INSIDE_LOG = 1e-10


def stock_model(model: MaskedDiffusionModel, dtype: torch.dtype) -> Any:
    """The same weights in transformers' own Qwen2, converted to ``dtype``."""
    config = Qwen2Config.from_dict(model.config.to_hugging_face())
    stock = Qwen2ForCausalLM._from_config(config, attn_implementation="sdpa")
    stock.load_state_dict(model.state_dict())
    return stock.to(next(model.parameters()).device, dtype).eval().requires_grad_(False)


@torch.inference_mode()
def denoise(stock: Any, config: ModelConfig, prompts: Sequence[Sequence[int]], sampler: Sampler) -> Tensor:
    """[n, L] completions of n prompts by a :func:`stock_model`. ``sampler`` must be of the entropy decoder."""
    width, steps, mask_id = max(map(len, prompts)), sampler.denoising_steps, config.mask_token_id
    response = [mask_id] * sampler.completion_length
    padded = [[config.pad_token_id] * (width - len(prompt)) + [*prompt, *response] for prompt in prompts]
    canvas = torch.tensor(padded, device=stock.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=stock.device)
    real = torch.arange(canvas.shape[1], device=stock.device) >= width - lengths.unsqueeze(1)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    bias = torch.zeros(real.shape, dtype=stock.dtype, device=stock.device)
    bias.masked_fill_(~real, torch.finfo(stock.dtype).min)
    bias = bias[:, None, None, :].expand(-1, 1, canvas.shape[1], -1)
    forbidden = torch.tensor(config.forbidden_token_ids, device=stock.device)
    times = torch.linspace(1, _SMALLEST_TIME, steps + 1)
    for step in range(steps):
        masked = canvas == mask_id
        logits = stock(canvas, attention_mask=bias, position_ids=positions, use_cache=False).logits
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
        candidates = logits[masked].index_fill_(-1, forbidden, -torch.inf)
        tokens, confidence = draw(candidates, sampler)
        left = masked.sum().cpu() / len(prompts)
        count = int(left * (1 - times[step + 1] / times[step])) if step < steps - 1 else int(left)
        if count:
            table = torch.full(canvas.shape, -torch.inf, dtype=logits.dtype, device=stock.device)
            table[masked] = confidence
            drawn = canvas.clone()
            drawn[masked] = tokens
            chosen = table.topk(count).indices
            canvas.scatter_(1, chosen, drawn.gather(1, chosen))
    return canvas[:, width:]


def draw(logits: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """Return a token [m], and the negative entropy [m] of what it is drawn from, for each row of logits [m, V]."""
    if sampler.temperature:
        logits = logits / sampler.temperature
    if sampler.top_p < 1:
        logits = _nucleus(logits, sampler.top_p)
    probabilities = logits.softmax(-1)
    if sampler.temperature:
        tokens: Tensor = Categorical(probs=probabilities, validate_args=False).sample()  # type: ignore[no-untyped-call]
    else:
        tokens = probabilities.argmax(-1)
    return tokens, (probabilities * (probabilities + _INSIDE_LOG).log()).sum(-1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits [m, V] with those outside the most likely tokens that reach ``top_p`` at the dtype's minimum."""
    ordered, ids = logits.sort(descending=True)
    outside = ordered.softmax(-1).cumsum(-1) > top_p
    outside[:, 1:] = outside[:, :-1].clone()  # the token that crosses the line is in
    outside[:, 0] = False
    removed = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, ids, outside)
    return logits.masked_fill(removed, torch.finfo(logits.dtype).min)
