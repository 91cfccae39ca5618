"""Attention between causal and full."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.naive_denoise import stock_model
from common.models.packing import Packing
from learner.stages.annealing import visible_pairs, visible_share
from tests.learner.learner_tools import tiny_policy

LENGTHS = [5, 9, 5, 1, 12]
CONTEXT = 16


def test_later_positions_come_into_view_step_by_step() -> None:
    assert [visible_share(4, step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert visible_share(0, 0) == 1.0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_past_is_always_seen_and_a_share_of_what_comes_later(share: float) -> None:
    pairs = visible_pairs(share, 200, seed=1, step=7)
    later = np.triu(np.ones((200, 200), dtype=bool), 1)
    assert pairs[~later].all()
    assert pairs[later].mean() == pytest.approx(share, abs=0.015)
    assert (pairs == visible_pairs(share, 200, seed=1, step=7)).all()
    if share:
        assert (pairs != visible_pairs(share, 200, seed=1, step=8)).any()
        assert (pairs != visible_pairs(share, 200, seed=2, step=7)).any()
        # What was in view stays, were the draw the same: the share alone decides.
        assert not (pairs & ~visible_pairs(share + 0.1, 200, seed=1, step=7)).any()


def hidden(visible: Tensor | None, dtype: torch.dtype = torch.float32) -> tuple[Packing, Tensor]:
    model = tiny_policy().model
    packing = Packing.of(LENGTHS)
    ids = torch.arange(packing.total) % 17 + 2
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return packing, model.hidden(ids, packing, visible=visible)


def test_causal_attention_is_that_of_the_causal_model() -> None:
    packing, found = hidden(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril())
    stock = stock_model(tiny_policy().model, torch.float32)
    ids = torch.arange(packing.total) % 17 + 2
    for start, length in zip(packing.starts, packing.lengths, strict=True):
        with torch.no_grad():
            expected = stock.model(ids[None, start : start + length]).last_hidden_state[0]
        torch.testing.assert_close(found[start : start + length], expected, atol=1e-5, rtol=0)


def test_attention_that_sees_all_is_full_attention() -> None:
    _, full = hidden(None)
    _, all_seen = hidden(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool))
    torch.testing.assert_close(all_seen, full, atol=1e-5, rtol=0)


def test_half_way_attention_holds_in_bf16() -> None:
    visible = torch.from_numpy(visible_pairs(0.5, CONTEXT, seed=0, step=0))
    _, wide = hidden(visible)
    _, narrow = hidden(visible, torch.bfloat16)
    _, full = hidden(None)
    assert float((wide - full).abs().max()) > 0.5
    torch.testing.assert_close(narrow.float(), wide, atol=0.2, rtol=0)
