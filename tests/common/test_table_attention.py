"""Attention by tables against torch's own, one sequence at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.models import table_attention
from common.models.packing import Packing
from common.models.table_attention import attend_by_tables, suits_tables

LENGTHS = [5, 12, 1, 5, 9, 12, 5, 2]
HEADS, WIDTH = 4, 8


def drawn(packing: Packing, heads: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(packing.total, heads, WIDTH, dtype=torch.float64, generator=draw).requires_grad_()


def plain(packing: Packing, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    attended = []
    for start, count, length in packing.blocks:
        for begin in range(start, start + count * length, length):
            heads = [t[begin : begin + length].transpose(0, 1).unsqueeze(0) for t in (q, k, v)]
            out = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], enable_gqa=True)
            attended.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(attended)


#: Room for a single table, for some heads of one sequence, and for whole sequences.
@pytest.mark.parametrize("room", [1, 3 * 12 * 12 * 8, 1 << 20])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_equals_attention_of_each_sequence(room: int, key_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_attention, "_TABLES_BYTES", room)
    packing = Packing.of(LENGTHS)
    inputs = [drawn(packing, heads, seed) for seed, heads in enumerate((HEADS, key_heads, key_heads))]
    found, expected = attend_by_tables(packing, *inputs), plain(packing, *inputs)
    torch.testing.assert_close(found, expected)
    slope = drawn(packing, HEADS, 3).detach().flatten(1)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_tables_are_for_fp32_and_for_sequences_whose_tables_a_cache_holds() -> None:
    short, long = Packing.of([5, 1024]), Packing.of([5, 1025])
    q = torch.zeros(1, HEADS, WIDTH)
    assert suits_tables(short, q)
    assert not suits_tables(long, q)
    assert not suits_tables(short, q.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits_tables(short, q)
