"""A bidirectional Qwen2 or Llama transformer over packed batches.

Parameter names are theirs, so a Hugging Face checkpoint of either architecture loads as it is. The same forward
pass samples (rollout workers) and trains (learner): what one sees is what the other sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from common.models.config import ModelConfig
from common.models.elementwise import gated, rotate
from common.models.log_probabilities import HeadFunction
from common.models.packing import Packing, Queries
from common.models.precision import Embedding, Linear, RMSNorm, attend
from common.models.spared_rows import Different, SparedRows, gathered
from common.models.window import Memory, Window

#: Attention of packed q, k, v, each [rows, heads, d], as [rows, heads * d].
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Flat rows of a packed batch, one or many.
Rows = TypeVar("Rows", int, Tensor)


def rotary_tables(config: ModelConfig, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each [length, head_dim], in fp32."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), config.rope_theta**-exponents)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def attend_within(
    packing: Packing, visible: Tensor | None, queries: Queries | None, q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    """Attention of every token over its sequence [N, heads * d], one call for each length.

    Over all of it, or what ``visible`` [C, C] (query, key) lets it see: a sequence takes the corner of its length.
    With ``queries`` [m], q are those of these rows alone, and so is what is returned: one call for each run of
    sequences of one length that are asked for as many rows. They see all of their sequences.
    """
    attended, begin = [], 0
    for start, count, length, wanted in _runs(packing, queries):
        span = slice(start, start + count * length)
        asked = q[begin : begin + count * wanted].view(count, wanted, *q.shape[1:]).transpose(1, 2)
        keys, values = (t[span].view(count, length, *t.shape[1:]).transpose(1, 2) for t in (k, v))
        seen = None if visible is None else visible[:length, :length]
        attended.append(attend(asked, keys, values, seen).transpose(1, 2).reshape(count * wanted, -1))
        begin += count * wanted
    return torch.cat(attended)


def _runs(packing: Packing, queries: Queries | None) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs of sequences of one length and one number of queries: start, count, length and that number."""
    if queries is None:
        for start, count, length in packing.blocks:
            yield start, count, length, length
        return
    first = 0
    for start, count, length in packing.blocks:
        for wanted, run in groupby(queries.counts[first : first + count]):
            run_count = sum(1 for _ in run)
            if wanted:
                yield start, run_count, length, wanted
            start += run_count * length
        first += count


@dataclass(frozen=True)
class LayerRows:
    """What a layer is given of a batch of N rows, and what it is to give; all of them, where nothing is said.

    ``places`` [N] says which row of the layer's input each row of the batch is. ``wanted`` [m] are the rows whose
    hidden states are given; ``queries`` are the same rows, where attention takes queries of them alone.
    """

    places: Tensor | None = None
    wanted: Tensor | None = None
    queries: Queries | None = None

    def of(self, values: Tensor, rows: Tensor | None) -> Tensor:
        """Return ``rows`` of the batch, or all, of ``values`` [., H] of the rows of the layer's input."""
        if self.places is not None:
            return gathered(values, self.places if rows is None else self.places[rows])
        return values if rows is None else values[rows]


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj = Linear(width, width, bias=config.attention_bias)
        self.k_proj = Linear(width, kv, bias=config.attention_bias)
        self.v_proj = Linear(width, kv, bias=config.attention_bias)
        self.o_proj = Linear(width, width, bias=False)

    def forward(self, x: Tensor, attention: Attend, cos: Tensor, sin: Tensor, rows: LayerRows) -> Tensor:
        asked = None if rows.queries is None else rows.queries.rows
        if rows.places is None:
            q = self.q_proj(x if asked is None else x[asked])
        else:
            q = rows.of(self.q_proj(x), asked)
        k, v = (
            rows.of(project(x), None).view(-1, self.kv_heads, self.head_dim)
            for project in (self.k_proj, self.v_proj)
        )
        angles = (cos, sin) if asked is None else (cos[asked], sin[asked])
        q = rotate(q.view(-1, self.heads, self.head_dim), *angles)
        attended = attention(q, rotate(k, cos, sin), v)
        out: Tensor = self.o_proj(attended if asked is not None or rows.wanted is None else attended[rows.wanted])
        return out


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(gated(self.gate_proj(x), self.up_proj(x)))
        return out


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, attention: Attend, cos: Tensor, sin: Tensor, rows: LayerRows) -> Tensor:
        """Hidden states of all rows, or only of those that are wanted, which still see all of their sequences."""
        update = self.self_attn(self.input_layernorm(x), attention, cos, sin, rows)
        x = rows.of(x, rows.wanted) + update
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Head(Linear):
    """The output layer. ``function`` is called with the rows and the weight in place of the usual product: inside
    the forward pass, as under ZeRO-3 the weight is whole only there."""

    def forward(self, x: Tensor, widen: bool = False, function: HeadFunction | None = None) -> Any:
        return super().forward(x, widen) if function is None else function(x, self.weight)


class Backbone(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Not drawn: whoever builds a model fills it; and drawing on the meta device would import torch's compiler,
        # which costs every process of a run two seconds.
        table = torch.zeros(config.vocab_size, config.hidden_size)
        self.embed_tokens = Embedding.from_pretrained(table, freeze=False)  # type: ignore[no-untyped-call]
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MaskedDiffusionModel(nn.Module):
    """log p(token at masked position | the rest), for every masked position at once."""

    _forbidden: Tensor
    #: Keep only each layer's input for the backward pass, which computes the rest again.
    checkpoint_layers = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = Head(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        # On the CPU also where the weights are built on the meta device, which would hold no ids.
        forbidden = torch.tensor(config.forbidden_token_ids, device="cpu")
        self.register_buffer("_forbidden", forbidden, persistent=False)

    def hidden(
        self,
        ids: Tensor,
        packing: Packing,
        rows: Tensor | None = None,
        visible: Tensor | None = None,
        spared: SparedRows | None = None,
    ) -> Tensor:
        """Hidden states [N, H] of a packed batch of token ids [N]; every sequence sees all of itself.

        With ``rows`` [m], only those [m, H]: the last layer leaves out what they do not need, and ``spared`` may
        say what else the layers can. With ``visible`` [C, C], bool, for sequences of up to C tokens, position i of
        each sees its position j where [i, j] is true.
        """
        spared = spared or SparedRows()
        # What a row may see is not looked up by row, so where that differs all rows have queries.
        asked = None if rows is None or visible is not None else spared.asked
        queries = None if rows is None or asked is None else asked.queries(rows)
        wanted = LayerRows(wanted=rows if queries is None else queries.rows, queries=queries)
        last = len(self.model.layers) - 1

        def attention(layer: int) -> Attend:
            return partial(attend_within, packing, visible, queries if layer == last else None)

        found = self._run(ids, packing.positions, packing.longest, attention, wanted, spared.different)
        return found if asked is None else found[asked.back]

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        """Hidden states [A, H] of the window's rows alone, which see the rest of their sequences as remembered."""
        positions = packing.positions[window.rows]

        def attention(layer: int) -> Attend:
            return partial(memory.attend, window, layer)

        return self._run(ids[window.rows], positions, packing.longest, attention)

    def _run(
        self,
        ids: Tensor,
        positions: Tensor,
        length: int,
        attention: Callable[[int], Attend],
        wanted: LayerRows | None = None,
        different: Different | None = None,
    ) -> Tensor:
        """Run the layers over tokens at positions below ``length``; the last one gives what is wanted."""
        cos, sin = rotary_tables(self.config, length, ids.device)
        # In fp32, whatever type weights are held in: what the layers add to it is not rounded.
        x = self.model.embed_tokens(ids if different is None else different.ids)
        cos, sin = (t[positions].unsqueeze(1).to(x.dtype) for t in (cos, sin))
        last = len(self.model.layers) - 1
        for number, layer in enumerate(self.model.layers):
            rows = wanted if wanted is not None and number == last else LayerRows()
            if number == 0 and different is not None:
                rows = replace(rows, places=different.places)
            inputs = (x, attention(number), cos, sin, rows)
            if self.checkpoint_layers and torch.is_grad_enabled():
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        out: Tensor = self.model.norm(x)
        return out

    def logits(self, rows: Tensor) -> Tensor:
        """Compute fp32 logits [n, V] of hidden rows [n, H]; -inf at tokens that are never predicted."""
        logits: Tensor = self.lm_head(rows, widen=True)
        return logits.index_fill_(-1, self._forbidden, -torch.inf)

    def apply_head(self, rows: Tensor, function: HeadFunction) -> Any:
        """Apply a function of :mod:`.log_probabilities` to hidden rows [n, H] and the output layer's weight."""
        return self.lm_head(rows, function=function)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._forbidden.device

    @property
    def forbidden(self) -> Tensor:
        """The ids of the tokens that are never predicted."""
        return self._forbidden

    def products(self) -> Iterator[tuple[str, Linear]]:
        """Yield the names and modules whose parameters every pass rounds to the type it computes in.

        A head that is the embedding too is not one of them: the embedding is read as it is.
        """
        for name, module in self.named_modules():
            if isinstance(module, Linear) and module.weight is not self.model.embed_tokens.weight:
                yield name, module

    def held_types(self, dtype: torch.dtype) -> dict[str, torch.dtype]:
        """Return the type in which a worker that computes in ``dtype`` holds each parameter."""
        types = {name: torch.float32 for name, _ in self.named_parameters()}
        for name, module in self.products():
            types |= {f"{name}.{leaf}": dtype for leaf, _ in module.named_parameters()}
        return types

    def source_rows(self, target_rows: Rows) -> Rows:
        """Return the flat rows that predict the target rows (one to the left where logits shift)."""
        return target_rows - 1 if self.config.shift else target_rows


def initialize(model: MaskedDiffusionModel, generator: torch.Generator, std: float = 0.02) -> None:
    """Fresh weights: normal(0, std) matrices, zero biases, unit norms."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, std, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
