"""The forward pass of a model without gradients: fewer products, fewer passes over memory, and no fresh memory.

It computes what :class:`~common.models.transformer.MaskedDiffusionModel` computes, up to the order of sums. The
products of a layer that read the same input are one (:mod:`.joined_products`), and bf16 has layers of its own
(:mod:`.narrow_layers`). The last layer computes queries, feed-forward block and norms only for the rows that are
asked for; on a CPU the first one computes queries, keys and values only of tokens that changed
(:mod:`.first_layer`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models.elementwise import inverse_rms, turn
from common.models.first_layer import FirstLayer
from common.models.joined_products import JoinedProducts
from common.models.narrow_layers import Attention, run_narrow
from common.models.narrow_passes import NarrowPasses
from common.models.packed_attention import attend_packed
from common.models.packing import Packing, Queries
from common.models.precision import Linear, RMSNorm, multiplies_bf16
from common.models.transformer import MaskedDiffusionModel, rotary_tables
from common.models.window import Memory, Window

#: Tokens whose logits a CPU computes at a time: its library is slow at products far wider than high.
_COLUMNS = 1024
#: Columns of a feed-forward block that a CPU computes at a time: gate and up meet while its caches have them.
_INNER = 512

#: Cosines and sines, each [N, 1, d], of the rows' positions.
_Angles = tuple[Tensor, Tensor]
#: Queries, keys and values of a layer, each [rows, heads, d].
_Heads = tuple[Tensor, Tensor, Tensor]


class _Workspace:
    """Tensors that every pass writes anew. Taken anew too, their pages would cost more than many of the sums."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Return an fp32 tensor of this shape; what the last one of this name held is lost."""
        size = torch.Size(shape).numel()
        held = self._held.get(name)
        if held is None or held.numel() < size:
            held = self._held[name] = torch.empty(size, device=self._device)
        return held[:size].view(shape)

    def release(self) -> None:
        """Give all memory back."""
        self._held = {}


class InferenceModel:
    """Hidden states of packed batches; call it where no gradients are recorded, and autocast says the type."""

    def __init__(self, model: MaskedDiffusionModel) -> None:
        self._model = model
        #: What bf16 layers compute between products.
        self.passes = NarrowPasses()
        self.join()
        self._workspace = _Workspace(model.device)
        self._first = FirstLayer()
        self._tables: tuple[Tensor, Tensor] = rotary_tables(model.config, 1, model.device)
        self._placed: tuple[Packing, _Angles] | None = None

    def join(self) -> None:
        """Join the products anew once the parameters lie elsewhere: without a copy where they are side by side."""
        self._products = [JoinedProducts.of(layer) for layer in self._model.model.layers]

    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        """Hidden states [N, H] of a packed batch of token ids [N]; with ``queries``, only of those rows [m, H]."""
        attention, angles = partial(attend_packed, packing), self._angles(packing)
        known = self._first_heads(ids, packing, angles) if self._remembers(ids) else None
        return self._run(ids, angles, lambda _: attention, queries, known)

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        """Hidden states [A, H] of the window's rows alone, which see the rest of their sequences as remembered."""
        cos, sin = (table[window.rows] for table in self._angles(packing))

        def attention(layer: int) -> Callable[[Queries | None, Tensor, Tensor, Tensor], Tensor]:
            return lambda _, q, k, v: memory.attend(window, layer, q, k, v)

        return self._run(ids[window.rows], (cos, sin), attention, None, None)

    def forget(self) -> None:
        """Compute all of the next pass anew: the weights are others."""
        self._first.forget()

    def release(self) -> None:
        """Give back what passes keep for each other; the next ones take it anew."""
        self.forget()
        self._workspace.release()
        self._placed = None

    def logits(self, rows: Tensor) -> Tensor:
        """Compute fp32 logits [n, V] of hidden rows [n, H]; they are valid until the next call."""
        if torch.is_autocast_enabled(rows.device.type):
            return self._model.logits(rows)
        weight = self._model.lm_head.weight
        logits = self._workspace.take("logits", len(rows), len(weight))
        at_once = len(weight) if rows.is_cuda else _COLUMNS
        for part, out in zip(torch.split(weight, at_once), torch.split(logits, at_once, dim=-1), strict=True):
            torch.mm(rows, part.T, out=out)
        return logits.index_fill_(-1, self._model.forbidden, -torch.inf)

    def _run(
        self,
        ids: Tensor,
        angles: _Angles,
        attention: Attention,
        queries: Queries | None,
        known: _Heads | None,
    ) -> Tensor:
        """Run the layers; ``known`` are the first one's queries, keys and values where they are at hand."""
        x = self._model.model.embed_tokens(ids)
        if multiplies_bf16(x.device):
            return run_narrow(self._model.model, self._products, self.passes, x, angles, attention, queries)
        last = len(self._products) - 1
        layers: Any = self._model.model.layers
        for number, (layer, products) in enumerate(zip(layers, self._products, strict=True)):
            wanted = queries if number == last else None
            if known is None or number:
                normed = self._norm(layer.input_layernorm, x)
                heads = self._heads(layer, products, normed, angles, wanted)
            else:
                heads = known
            if wanted is not None:
                x = x.index_select(0, wanted.rows)
            x = self._add_product(x, layer.self_attn.o_proj, attention(number)(wanted, *heads))
            inner = self._gated(products.gate_up, self._norm(layer.post_attention_layernorm, x))
            x = self._add_product(x, layer.mlp.down_proj, inner)
        return self._norm(self._model.model.norm, x).clone()

    def _remembers(self, ids: Tensor) -> bool:
        """Tell whether the first layer computes changed tokens alone: a GPU would have to be asked for them."""
        return len(self._products) > 1 and not ids.is_cuda and not multiplies_bf16(ids.device)

    def _first_heads(self, ids: Tensor, packing: Packing, angles: _Angles) -> _Heads:
        """Queries, keys and values of the first layer, of which only rows whose token changed are computed."""
        layer: Any = self._model.model.layers[0]
        products, heads = self._products[0], layer.self_attn.heads

        def compute(rows: Tensor | slice) -> tuple[Tensor, Tensor]:
            normed = self._norm(layer.input_layernorm, self._model.model.embed_tokens(ids[rows]))
            return self._mixed(layer, products, normed, (angles[0][rows], angles[1][rows]))

        rotated, v = self._first.tables(ids, packing, compute)
        return rotated[:, :heads], rotated[:, heads:], v

    def _heads(
        self, layer: Any, products: JoinedProducts, normed: Tensor, angles: _Angles, queries: Queries | None
    ) -> _Heads:
        """Queries, keys and values, each [N, heads, d], of normed rows [N, H]; queries of ``queries`` alone."""
        block = layer.self_attn
        if queries is None:
            rotated, v = self._mixed(layer, products, normed, angles)
            return rotated[:, : block.heads], rotated[:, block.heads :], v
        mixed = self._product(products.kv, normed, "mixed").view(len(normed), -1, block.head_dim)
        k, v = self._rotate(mixed[:, : block.kv_heads], angles, "rotated"), mixed[:, block.kv_heads :]
        asked = self._product(block.q_proj, normed.index_select(0, queries.rows), "asked")
        cos, sin = (table.index_select(0, queries.rows) for table in angles)
        q = self._rotate(asked.view(len(asked), block.heads, block.head_dim), (cos, sin), "turned")
        return q, k, v

    def _mixed(
        self, layer: Any, products: JoinedProducts, normed: Tensor, angles: _Angles
    ) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys side by side, and values, of normed rows [N, H]: valid until the next."""
        block = layer.self_attn
        both = block.heads + block.kv_heads
        mixed = self._product(products.qkv, normed, "mixed").view(len(normed), -1, block.head_dim)
        return self._rotate(mixed[:, :both], angles, "rotated"), mixed[:, both:]

    def _gated(self, gate_up: Linear, x: Tensor) -> Tensor:
        """Compute SiLU(gate) * up [N, I] of x [N, H]: valid until the next."""
        width = gate_up.out_features // 2
        if x.is_cuda or torch.is_autocast_enabled(x.device.type) or width <= _INNER:
            gate, up = self._product(gate_up, x, "inner").chunk(2, dim=-1)
            return F.silu(gate, inplace=True).mul_(up)
        inner = self._workspace.take("inner", len(x), width)
        weights = (torch.split(half, _INNER) for half in gate_up.weight.chunk(2))
        for gates, ups, out in zip(*weights, torch.split(inner, _INNER, dim=-1), strict=True):
            gate, up = self._workspace.take("halves", 2, len(x), len(gates))
            torch.mm(x, gates.T, out=gate)
            torch.mm(x, ups.T, out=up)
            torch.mul(F.silu(gate, inplace=True), up, out=out)
        return inner

    def _product(self, linear: Linear, x: Tensor, name: str) -> Tensor:
        """x [N, in] through a linear layer: [N, out], valid until the next of this name."""
        if torch.is_autocast_enabled(x.device.type):
            out: Tensor = linear(x)
            return out
        into = self._workspace.take(name, len(x), linear.out_features)
        if linear.bias is None:
            return torch.mm(x, linear.weight.T, out=into)
        return torch.addmm(linear.bias, x, linear.weight.T, out=into)

    def _add_product(self, x: Tensor, linear: Linear, y: Tensor) -> Tensor:
        """Return x [N, out], to which y [N, in] through a linear layer without bias is added in place."""
        if torch.is_autocast_enabled(x.device.type):
            return x.add_(linear(y))
        return torch.addmm(x, y, linear.weight.T, out=x)

    def _norm(self, norm: RMSNorm, x: Tensor) -> Tensor:
        """Normalize x [N, H]: valid until the next."""
        if x.is_cuda:  # where it is one kernel
            normed: Tensor = norm(x)
            return normed
        scale = inverse_rms(x, norm.eps)
        return torch.mul(x, scale, out=self._workspace.take("normed", *x.shape)).mul_(norm.weight)

    def _rotate(self, x: Tensor, angles: _Angles, name: str) -> Tensor:
        """Turn x [N, heads, d] by the angles' cosines and sines, each [N, 1, d]: fp32, valid until the next."""
        cos, sin = angles
        return turn(x.float(), cos, sin, self._workspace.take(name, *x.shape))

    def _angles(self, packing: Packing) -> _Angles:
        """Cosines and sines, each [N, 1, d], of a packed batch; computed once for a packing."""
        if self._placed is not None and self._placed[0] is packing:
            return self._placed[1]
        if packing.longest > len(self._tables[0]):
            self._tables = rotary_tables(self._model.config, packing.longest, self._model.device)
        cos, sin = (table[packing.positions].unsqueeze(1) for table in self._tables)
        self._placed = packing, (cos, sin)
        return cos, sin
