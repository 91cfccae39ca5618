"""AR-ness: how close a decoding order is to left to right (DiffuCoder, section 4.1).

The paper defines both measures for one token per step. Here tokens committed in one step count as decoded left
to right, so a multi-token step reads as autoregressive as it can; both measures are then upper bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def decode_order(step_map: Sequence[int]) -> list[int]:
    """Positions in the order they were committed; positions of step -1 never were."""
    committed = [k for k, step in enumerate(step_map) if step >= 0]
    return sorted(committed, key=lambda k: (step_map[k], k))


def local_ar_ness(order: Sequence[int]) -> float:
    """Share of tokens (from the second on) committed right after their left neighbour: local AR-ness@1."""
    pairs = list(pairwise(order))
    return sum(b == a + 1 for a, b in pairs) / len(pairs) if pairs else 1.0


def global_ar_ness(order: Sequence[int]) -> float:
    """Share of tokens that were the left-most still masked one when committed: global AR-ness@1."""
    remaining = sorted(order)
    hits = 0
    for position in order:
        hits += position == remaining[0]
        remaining.remove(position)
    return hits / len(order) if order else 1.0
