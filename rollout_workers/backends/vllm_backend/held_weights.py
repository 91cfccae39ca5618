"""What vLLM's layers hold, read back through the layers themselves.

On some platforms vLLM repacks weights and keeps no plain copy. A layer applied to the identity matrix gives its
weights exactly, as every sum has one term that is not 0; and what is read is what the kernels multiply by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from common.models.config import ModelConfig

#: Rows of the identity matrix at a time.
_ROWS = 1024
_TABLES = ("model.embed_tokens", "lm_head")


class HeldWeights:
    """The weights of one of several tensor-parallel ranks, to compare with whole ones by their names."""

    def __init__(self, model: Any, config: ModelConfig, rank: int, ranks: int) -> None:
        self._model = model
        self._config = config
        self._rank = rank
        self._ranks = ranks

    @torch.inference_mode()
    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Name the parameters of which this rank's part is not held exactly (0 may be -0)."""
        return [
            name
            for name, whole in weights
            if not all(_equal(held, expected) for held, expected in self._pairs(name, whole))
        ]

    def _pairs(self, name: str, whole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what is held of a parameter, and what of it should be."""
        owner, _, leaf = name.rpartition(".")
        layer, _, projection = owner.rpartition(".")
        if owner in _TABLES:
            yield from self._table_pairs(owner, whole)
        elif not projection.endswith("_proj"):
            yield self._module(owner).weight, whole
        elif projection in ("o_proj", "down_proj"):
            yield _read(self._module(owner)), whole.chunk(self._ranks, 1)[self._rank]
        else:
            joined, begin, rows, part = self._place(projection)
            linear = self._module(f"{layer}.{joined}")
            held = linear.bias if leaf == "bias" else _read(linear)
            yield held[begin : begin + rows], whole[part * rows : (part + 1) * rows]

    def _table_pairs(self, owner: str, whole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows of an embedding, or a head, or of both where they are one: each reads its own copy."""
        tied = self._config.tie_word_embeddings and owner == "model.embed_tokens"
        for table in (owner, "lm_head") if tied else (owner,):
            module = self._module(table)
            first, last = module.shard_indices.org_vocab_start_index, module.shard_indices.org_vocab_end_index
            held = module.weight if table == "model.embed_tokens" else _read(module)
            yield held[: last - first], whole[first:last]

    def _place(self, projection: str) -> tuple[str, int, int, int]:
        """Find a projection in the layer that joins it with others: its name, first row, rows; and which part."""
        config, ranks = self._config, self._ranks
        if projection in ("gate_proj", "up_proj"):
            rows = config.intermediate_size // ranks
            return "gate_up_proj", rows * (projection == "up_proj"), rows, self._rank
        queries = config.num_attention_heads // ranks * config.head_dim
        # With fewer key heads than ranks, several ranks hold the same one.
        copies = max(1, ranks // config.num_key_value_heads)
        keys = max(1, config.num_key_value_heads // ranks) * config.head_dim
        if projection == "q_proj":
            return "qkv_proj", 0, queries, self._rank
        return "qkv_proj", queries + keys * (projection == "v_proj"), keys, self._rank // copies

    def _module(self, name: str) -> Any:
        return self._model.get_submodule(name)


def _read(linear: Any) -> Tensor:
    """Read the weight [out, in] of a linear layer or head."""
    weight, width = linear.weight, linear.input_size_per_partition  # the weight may be empty where it is repacked
    parts = []
    for start in range(0, width, _ROWS):
        rows = torch.zeros(min(_ROWS, width - start), width, dtype=weight.dtype, device=weight.device)
        rows[:, start : start + len(rows)].fill_diagonal_(1)
        parts.append(linear.quant_method.apply(linear, rows, None))
    return torch.cat(parts).T


def _equal(held: Tensor, expected: Tensor) -> bool:
    return torch.equal(held, expected.to(held.device, held.dtype))
