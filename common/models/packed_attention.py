"""Full attention inside every sequence of a packed batch, for all of its rows or for some of them.

On a GPU, in bf16, one call serves sequences of all lengths. Elsewhere there is one call for each length: the
fallback, and what the one call is compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models.packing import Packing, Queries
from common.models.precision import attend

#: Sequences up to this length are attended by tables of all scores on a CPU: torch's blockwise kernel costs more.
_SHORT = 256


def attend_packed(packing: Packing, queries: Queries | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention [m, heads * d] of q [m, heads, d] over k and v [N, kv heads, d].

    ``q`` are those of all N rows, or of ``queries`` [m] alone.
    """
    if q.is_cuda and torch.is_autocast_enabled("cuda"):
        return attend_at_once(packing, queries, q, k, v, torch.get_autocast_dtype("cuda"))
    return attend_by_length(packing, queries, q, k, v)


def attend_by_length(packing: Packing, queries: Queries | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Do what :func:`attend_packed` does, by one call for each length."""
    if queries is not None and not _even(packing, queries):
        every = q.new_zeros(packing.total, *q.shape[1:]).index_copy_(0, queries.rows, q)
        return attend_by_length(packing, None, every, k, v).index_select(0, queries.rows)
    device, narrow = q.device.type, torch.is_autocast_enabled(q.device.type)
    out = q.new_empty(q.shape, dtype=torch.get_autocast_dtype(device) if narrow else q.dtype)
    begin, sequence = 0, 0
    for start, count, length in packing.blocks:
        wanted = length if queries is None else queries.counts[sequence]
        sequence += count
        if not wanted:
            continue
        asked = q[begin : begin + count * wanted].view(count, wanted, *q.shape[1:]).transpose(1, 2)
        keys, values = (
            t[start : start + count * length].view(count, length, *t.shape[1:]).transpose(1, 2) for t in (k, v)
        )
        short = length <= _SHORT and device == "cpu" and not narrow
        attended = _attend_by_tables(asked, keys, values) if short else attend(asked, keys, values)
        out[begin : begin + count * wanted].view(count, wanted, *q.shape[1:]).copy_(attended.transpose(1, 2))
        begin += count * wanted
    return out.flatten(1)


def attend_at_once(
    packing: Packing, queries: Queries | None, q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype
) -> Tensor:
    """Do what :func:`attend_packed` does, by one call of a flash kernel that takes sequences of any lengths."""
    # Imports Triton's kernels, which a machine without a GPU need not have.
    from torch.nn.attention.varlen import varlen_attn

    asked, most = (packing.ends, packing.longest) if queries is None else (queries.ends, max(queries.counts))
    grouped = q.shape[1] != k.shape[1]
    q, k, v = (t.to(dtype) for t in (q, k, v))
    out = varlen_attn(q, k, v, asked, packing.ends, most, packing.longest, enable_gqa=grouped)
    if not isinstance(out, Tensor):
        raise TypeError("varlen_attn returned more than the attention, which nobody asked it for")
    return out.flatten(1)


def _attend_by_tables(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention of q [n, heads, queries, d] over k, v [n, kv heads, keys, d], all scores at once."""
    count, heads, wanted, width = q.shape
    shared = heads // k.shape[1]
    # Query heads that share keys are one matrix more of queries.
    asked = q.reshape(-1, shared * wanted, width)
    keys, values = (t.reshape(-1, *t.shape[2:]) for t in (k, v))
    scores = q.new_empty(len(asked), shared * wanted, keys.shape[1])
    torch.baddbmm(scores, asked, keys.transpose(1, 2), beta=0, alpha=width**-0.5, out=scores)
    return torch.bmm(scores.softmax(-1), values).view(count, heads, wanted, width)


def _even(packing: Packing, queries: Queries) -> bool:
    """Return whether sequences of the same length are asked for the same number of rows."""
    sequence = 0
    for _, count, _ in packing.blocks:
        if len(set(queries.counts[sequence : sequence + count])) > 1:
            return False
        sequence += count
    return True
