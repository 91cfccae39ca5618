"""The layers of a model without gradients where products are in bf16, with few passes over memory beside them.

A layer is four products, attention and four passes of :mod:`.narrow_passes`: what a product adds to the hidden
states is added by the pass that makes the next product's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from common.models.joined_products import JoinedProducts
from common.models.narrow_passes import NarrowPasses
from common.models.packing import Queries

#: Of a layer, by its number: attention [m, heads * d] of q [m, heads, d], those of some rows or of all, over k and
#: v [N, kv heads, d].
Attention = Callable[[int], Callable[[Queries | None, Tensor, Tensor, Tensor], Tensor]]


def run_narrow(
    backbone: Any,
    products: Sequence[JoinedProducts],
    passes: NarrowPasses,
    x: Tensor,
    angles: tuple[Tensor, Tensor],
    attention: Attention,
    queries: Queries | None,
) -> Tensor:
    """Compute normalized hidden states [N, H] in bf16 from embeddings x [N, H] in fp32; or those of ``queries``.

    ``angles`` are cosines and sines, each [N, 1, d] in fp32. To be called with autocast to bf16.
    """
    norms = [layer.input_layernorm for layer in backbone.layers] + [backbone.norm]
    normed = passes.normed(x, norms[0].weight, norms[0].eps)
    for number, (layer, joined) in enumerate(zip(backbone.layers, products, strict=True)):
        wanted = queries if number == len(products) - 1 else None
        q, k, v = _heads(layer.self_attn, joined, passes, normed, angles, wanted)
        x = x if wanted is None else x.index_select(0, wanted.rows)
        middle, following = layer.post_attention_layernorm, norms[number + 1]
        update = layer.self_attn.o_proj(attention(number)(wanted, q, k, v))
        x, normed = passes.added(x, update, middle.weight, middle.eps)
        update = layer.mlp.down_proj(passes.gated(joined.gate_up(normed)))
        x, normed = passes.added(x, update, following.weight, following.eps)
    return normed


def _heads(
    block: Any,
    joined: JoinedProducts,
    passes: NarrowPasses,
    x: Tensor,
    angles: tuple[Tensor, Tensor],
    queries: Queries | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute queries [m, heads, d], keys and values [N, kv heads, d] of normalized rows x [N, H]."""
    kv = block.kv_heads
    if queries is None:
        mixed = joined.qkv(x).view(len(x), -1, block.head_dim)
        both = passes.turned(mixed[:, :-kv], *angles)
        return both[:, :-kv], both[:, -kv:], mixed[:, -kv:]
    mixed = joined.kv(x).view(len(x), -1, block.head_dim)
    asked = block.q_proj(x.index_select(0, queries.rows)).view(-1, block.heads, block.head_dim)
    cos, sin = (table.index_select(0, queries.rows) for table in angles)
    return passes.turned(asked, cos, sin), passes.turned(mixed[:, :kv], *angles), mixed[:, kv:]
