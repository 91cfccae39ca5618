"""Full attention inside the sequences of a packed batch, by tables of all scores, with its gradient.

It is for a CPU, in fp32. Torch's blockwise kernel keeps no table, for which a CPU pays where those of a few heads
fit its cache: most of all in the backward pass. Here there are tables of some heads at a time, which are computed
again for the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from common.models.packing import Packing

#: Bytes of the tables that are computed at a time, or of one of them.
_TABLES_BYTES = 4 << 20
#: Sequences up to this length have tables of which a core's cache holds one.
_LONGEST = 1024


def suits_tables(packing: Packing, q: Tensor) -> bool:
    """Return whether tables suit queries [N, heads, d]: on a CPU, in fp32, in sequences that are not too long."""
    if q.device.type != "cpu" or q.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return packing.longest <= _LONGEST


def attend_by_tables(packing: Packing, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention [N, heads * d] of q [N, heads, d] over k and v [N, kv heads, d]."""
    out: Tensor = _Attention.apply(packing, q, k, v)  # type: ignore[no-untyped-call]
    return out


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.packing = packing
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(q)
        for part in _parts(packing, q, k):
            shares = part.shares(q, k)
            part.put(torch.bmm(shares, part.of(v)), out)
        return out.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        slope = slope.view(q.shape)
        to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for part in _parts(ctx.packing, q, k):
            shares, wanted = part.shares(q, k), part.of(slope)
            part.put(torch.bmm(shares.transpose(1, 2), wanted), to_v)
            to_shares = torch.bmm(wanted, part.of(v).transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
            part.put(torch.bmm(to_scores, part.of(k)).mul_(part.scale), to_q)
            part.put(torch.bmm(to_scores.transpose(1, 2), part.of(q)).mul_(part.scale), to_k)
        return None, to_q, to_k, to_v


@dataclass(frozen=True)
class _Part:
    """Sequences of one length, and those of their heads of keys whose tables are there at the same time.

    ``rows`` are those of the ``count`` sequences of ``length`` tokens; ``heads`` are some of the ``key_heads``.
    """

    rows: slice
    count: int
    length: int
    heads: slice
    key_heads: int
    scale: float

    def shares(self, q: Tensor, k: Tensor) -> Tensor:
        """Compute how much each query sees of each key: [tables, queries, keys]."""
        asked, keys = self.of(q), self.of(k)
        scores = q.new_empty(len(asked), asked.shape[1], self.length)
        torch.baddbmm(scores, asked, keys.transpose(1, 2), beta=0, alpha=self.scale, out=scores)
        return scores.softmax(-1)

    def of(self, tensor: Tensor) -> Tensor:
        """Select from [N, heads, d] what belongs to the part's tables: [tables, rows of one, d].

        Queries of heads that share keys are rows of one table.
        """
        heads = self._heads(tensor)
        return heads.reshape(heads.shape[0] * heads.shape[1], -1, heads.shape[-1])

    def put(self, values: Tensor, tensor: Tensor) -> None:
        """Write what belongs to the tables to where :meth:`of` would find it."""
        heads = self._heads(tensor)
        heads.copy_(values.view(heads.shape))

    def _heads(self, tensor: Tensor) -> Tensor:
        _, heads, width = tensor.shape
        shape = self.count, self.length, self.key_heads, heads // self.key_heads, width
        return tensor[self.rows].view(shape)[:, :, self.heads].permute(0, 2, 3, 1, 4)


def _parts(packing: Packing, q: Tensor, k: Tensor) -> Iterator[_Part]:
    scale, key_heads = q.shape[-1] ** -0.5, k.shape[1]
    for start, count, length in packing.blocks:
        table = q.shape[1] // key_heads * length * length * q.element_size()
        heads = min(key_heads, max(1, _TABLES_BYTES // table))
        sequences = min(count, max(1, _TABLES_BYTES // (table * key_heads)))
        for first in range(0, count, sequences):
            some = min(sequences, count - first)
            rows = slice(start + first * length, start + (first + some) * length)
            for head in range(0, key_heads, heads):
                yield _Part(rows, some, length, slice(head, head + heads), key_heads, scale)
