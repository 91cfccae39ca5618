"""Row locking in plain loops.

Every row is computed at every step, and locked ones put their old keys and values in the place of the new ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models.elementwise import rotate
from common.models.transformer import MaskedDiffusionModel, rotary_tables
from common.records import Completion

Pairs = list[tuple[Tensor, Tensor]]


def forward(model: MaskedDiffusionModel, canvas: list[int], frozen: dict[int, Pairs]) -> tuple[Tensor, Pairs]:
    """Hidden states [n, H] of one sequence, and every layer's keys and values; ``frozen`` are those by row."""
    config = model.config
    cos, sin = (table.unsqueeze(1) for table in rotary_tables(config, len(canvas), torch.device("cpu")))
    x, seen = model.model.embed_tokens(torch.tensor(canvas)), []
    for number, layer in enumerate(model.model.layers):
        block = layer.self_attn
        normed = layer.input_layernorm(x)
        q = rotate(block.q_proj(normed).view(len(canvas), block.heads, -1), cos, sin)
        k = rotate(block.k_proj(normed).view(len(canvas), block.kv_heads, -1), cos, sin)
        v = block.v_proj(normed).view(len(canvas), block.kv_heads, -1)
        for row, pairs in frozen.items():
            k[row], v[row] = pairs[number][0][row], pairs[number][1][row]
        seen.append((k, v))
        mixed = torch.zeros(len(canvas), block.heads, block.head_dim)
        for head in range(block.heads):
            shared = head * block.kv_heads // block.heads
            for row in range(len(canvas)):
                scores = (k[:, shared] @ q[row, head]) / block.head_dim**0.5
                mixed[row, head] = scores.softmax(0) @ v[:, shared]
        x = x + block.o_proj(mixed.flatten(1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.model.norm(x), seen


def follow(
    model: MaskedDiffusionModel, prompt: tuple[int, ...], done: Completion, bound: float
) -> tuple[dict[int, float], list[int]]:
    """Make a completion's steps again; return log p of every token by position, and the rows computed by step."""
    written = {
        (k, t): s for k, (t, s) in enumerate(zip(done.completion_ids, done.step_map, strict=True)) if s >= 0
    }
    written |= {(k, t): s for k, t, s in done.overwritten}
    canvas = [*prompt, *[model.config.mask_token_id] * len(done.completion_ids)]
    frozen: dict[int, Pairs] = {}
    before: dict[int, Tensor] = {}
    found, computed = {}, []
    for step in sorted(set(written.values())):
        computed.append(len(canvas) - len(frozen))
        hidden, seen = forward(model, canvas, frozen)
        now: dict[int, Tensor] = {}
        for row in range(len(canvas)):
            target = row + 1 if model.config.shift else row
            asked = target < len(canvas) and canvas[target] == model.config.mask_token_id
            if row in frozen or asked or canvas[row] == model.config.mask_token_id:
                continue
            now[row] = model.logits(hidden[row : row + 1]).softmax(-1)[0]
        for row, later in now.items():
            if row in before:
                earlier = before[row]
                change = sum(
                    float(p) * (float(p.log()) - float(q.log())) for p, q in zip(earlier, later, strict=True) if p
                )
                if change < bound:
                    frozen[row] = seen
        before = now
        for (position, token), when in written.items():
            if when == step:
                row = len(prompt) + position - (1 if model.config.shift else 0)
                found[position] = float(model.logits(hidden[row : row + 1]).log_softmax(-1)[0, token])
                canvas[len(prompt) + position] = token
    return found, computed
