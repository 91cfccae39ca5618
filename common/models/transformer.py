"""A bidirectional Qwen2 or Llama transformer over packed batches.

Parameter names are theirs, so a Hugging Face checkpoint of either architecture loads as it is. The same forward
pass samples (rollout workers) and scores (learner): what one sees is what the other sees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.models.config import ModelConfig
from common.models.packing import Packing


def rotary_tables(config: ModelConfig, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each [length, head_dim], in fp32."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), config.rope_theta**-exponents)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [N, heads, head_dim], with cos and sin [N, 1, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, kv, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, kv, bias=config.attention_bias)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, packing: Packing, cos: Tensor, sin: Tensor) -> Tensor:
        q = rotate(self.q_proj(x).view(-1, self.heads, self.head_dim), cos, sin)
        k = rotate(self.k_proj(x).view(-1, self.kv_heads, self.head_dim), cos, sin)
        v = self.v_proj(x).view(-1, self.kv_heads, self.head_dim)
        attended = []
        for start, count, length in packing.blocks:
            span = slice(start, start + count * length)
            heads = [t[span].view(count, length, -1, self.head_dim).transpose(1, 2) for t in (q, k, v)]
            out = F.scaled_dot_product_attention(
                heads[0], heads[1], heads[2], enable_gqa=self.kv_heads != self.heads
            )
            attended.append(out.transpose(1, 2).reshape(count * length, -1))
        projected: Tensor = self.o_proj(torch.cat(attended))
        return projected


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, packing: Packing, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), packing, cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Backbone(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MaskedDiffusionModel(nn.Module):
    """log p(token at masked position | the rest), for every masked position at once."""

    _forbidden: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        # On the CPU also where the weights are built on the meta device, which would hold no ids.
        forbidden = torch.tensor(config.forbidden_token_ids, device="cpu")
        self.register_buffer("_forbidden", forbidden, persistent=False)

    def hidden(self, ids: Tensor, packing: Packing) -> Tensor:
        """Hidden states [N, H] of a packed batch of token ids [N]; every sequence sees all of itself."""
        cos, sin = rotary_tables(self.config, max(packing.lengths), ids.device)
        x = self.model.embed_tokens(ids)
        cos, sin = (t[packing.positions].unsqueeze(1).to(x.dtype) for t in (cos, sin))
        for layer in self.model.layers:
            x = layer(x, packing, cos, sin)
        out: Tensor = self.model.norm(x)
        return out

    def logits(self, rows: Tensor) -> Tensor:
        """fp32 logits [n, V] of hidden rows [n, H]; -inf at tokens that are never predicted."""
        scores: Tensor = self.lm_head(rows).float()
        return scores.index_fill_(-1, self._forbidden, -torch.inf)

    def source_rows(self, target_rows: Tensor) -> Tensor:
        """The flat row whose hidden state predicts each target row (one to the left where logits shift)."""
        return target_rows - 1 if self.config.shift else target_rows


def initialize(model: MaskedDiffusionModel, generator: torch.Generator, std: float = 0.02) -> None:
    """Fresh weights: normal(0, std) matrices, zero biases, unit norms."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, std, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
