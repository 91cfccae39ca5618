"""Products of a layer that read the same input as one, their weights side by side in memory.

The model's parameters are views of the joined weights: whoever overwrites a parameter in place overwrites these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.models.precision import Linear


@dataclass(frozen=True)
class JoinedProducts:
    """The products of one layer that are made together."""

    qkv: Linear
    kv: Linear
    gate_up: Linear

    @classmethod
    def of(cls, layer: Any) -> JoinedProducts:
        attention, block = layer.self_attn, layer.mlp
        qkv = _side_by_side([attention.q_proj, attention.k_proj, attention.v_proj])
        queries = attention.q_proj.out_features
        return cls(qkv, _part(qkv, queries), _side_by_side([block.gate_proj, block.up_proj]))


def _side_by_side(parts: Sequence[Linear]) -> Linear:
    """Make one product of several of the same input, and make their parameters views of its parameters."""
    whole = _shell(parts[0].in_features, sum(part.out_features for part in parts), parts[0])
    for name, parameter in whole.named_parameters():
        own = [part.get_parameter(name) for part in parts]
        parameter.data = _joined([one.data for one in own])
        for one, rows in zip(own, torch.split(parameter.data, [len(one) for one in own]), strict=True):
            one.data = rows
    return whole


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Join tensors along their first dimension: without a copy where they are views of one that joins them."""
    first = parts[0]
    rows, place = sum(map(len, parts)), first.storage_offset()
    for part in parts:
        adjacent = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not adjacent or part.storage_offset() != place or not part.is_contiguous():
            return torch.cat(list(parts))
        place += part.numel()
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def _part(whole: Linear, begin: int) -> Linear:
    """Make a product of the outputs from ``begin`` on; its parameters are views."""
    part = _shell(whole.in_features, whole.out_features - begin, whole)
    for name, parameter in part.named_parameters():
        parameter.data = whole.get_parameter(name).data[begin:]
    return part


def _shell(inputs: int, outputs: int, like: Linear) -> Linear:
    """Make a linear layer that computes as ``like`` does, its parameters still to be set."""
    made = Linear(inputs, outputs, bias=like.bias is not None, device="meta")
    for name, parameter in like.named_parameters():
        setattr(made, name, nn.Parameter(parameter.new_empty(0), requires_grad=False))
    made.holds_bf16 = like.holds_bf16
    return made
