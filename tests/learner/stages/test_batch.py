from __future__ import annotations

from collections import Counter

import pytest
import torch

from learner.stages.batch import micro_batches, pack
from learner.stages.noise import noised
from tests.learner.learner_tools import MASK_ID
from tests.learner.stages.stage_tools import CONTEXT, SEED, documents, examples, stage_config

CONFIG = stage_config("sft", objective={"pad_weight": 0.0})
DRAWN = [noised(s, CONFIG.objective, SEED, 1.0, shift=True) for s in [*documents(), *examples()]]
CPU = torch.device("cpu")


@pytest.mark.parametrize("ranks", [1, 2, 20])
@pytest.mark.parametrize("batch_tokens", [1, 30, 10_000])
def test_every_segment_is_in_one_batch_and_ranks_take_as_many_passes(ranks: int, batch_tokens: int) -> None:
    shares = [micro_batches(DRAWN, ranks, rank, batch_tokens) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    batches = [batch for share in shares for batch in share]
    assert all(sum(map(len, batch)) <= max(batch_tokens, CONTEXT) for batch in batches)
    counts = Counter(id(segment) for batch in batches for segment in batch)
    assert all(counts[id(segment)] == 1 for segment in DRAWN)
    idle = [s for batch in batches for s in batch if not any(s is segment for segment in DRAWN)]
    assert all(len(segment) == 1 and not segment.weights.any() for segment in idle)
    assert all(batches)


def test_only_masked_tokens_with_a_weight_are_predicted() -> None:
    packed = pack(DRAWN, MASK_ID, CPU)
    assert packed.ids.numel() == sum(map(len, DRAWN))
    assert packed.rows.numel() == sum(int((segment.weights > 0).sum()) for segment in DRAWN)
    assert (packed.ids[packed.rows] == MASK_ID).all()
    row = packed.ids.clone()
    row[packed.rows] = packed.targets
    for start, segment in zip(packed.packing.starts, DRAWN, strict=True):
        spared = segment.mask & (segment.weights == 0)
        expected = [MASK_ID if hidden else i for i, hidden in zip(segment.ids, spared, strict=True)]
        assert row[start : start + len(segment)].tolist() == expected
    spans = packed.chunks(7)
    assert [i for span in spans for i in range(span.rows.start, span.rows.stop)] == list(
        range(packed.rows.numel())
    )
    assert all(span.tokens == span.rows for span in spans)
    assert max(span.rows.stop - span.rows.start for span in spans) == 7
