"""AR-ness: how close a decoding order is to left to right (DiffuCoder, section 4.1 and appendix A.2).

Both measures are shares of decoding steps, in [0, 1], for one token per step; ``order[t]`` is the position that
step t committed. The paper leaves several tokens in one step undefined: here they count as decoded left to right.
Of all orders inside the steps that is the one of highest global AR-ness, which is then an upper bound. Local
AR-ness is one inside a step, but not across its ends: {0, 5} and then {1} reads as 0, 5, 1 and has 0 at k = 1,
where 5, 0, 1 would have 1/2.

There are two orders to judge. That of the text has the positions up to its end alone. The executed one has all
positions that were committed, as the paper's figures do, where every position is part of the answer: a model that
first fills the tail with padding, or writes it from the right, decodes its text left to right all the same.

An order with no step to judge (an empty one, or for local AR-ness@k one of at most k tokens) has AR-ness 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode_order(step_map: Sequence[int]) -> list[int]:
    """List positions in the order they were committed; those of step -1 never were and do not count."""
    committed = [k for k, step in enumerate(step_map) if step >= 0]
    return sorted(committed, key=lambda k: (step_map[k], k))


def never_committed(step_map: Sequence[int]) -> list[int]:
    """List the positions of step -1, ascending."""
    return [k for k, step in enumerate(step_map) if step < 0]


def local_ar_ness(order: Sequence[int], k: int = 1) -> float:
    """Compute the share of steps whose token has, directly to its left, the k tokens of the k steps before:
    local AR-ness@k.

    The k positions are compared as sets, as in the formula of appendix A.2. The figure's caption asks for strictly
    increasing ones, which is the same at k = 1 and stricter above; we take the formula, as the more precise.
    Steps with fewer than k predecessors are left out; the paper does not say what becomes of them. A larger k may
    give more: [1, 0, 2] has 0 at k = 1 and 1 at k = 2. Left to right without gaps gives 1 for every k.

    ``order`` holds distinct positions and k is at least 1.
    """
    positions = np.asarray(order, dtype=np.int64)
    if len(positions) <= k:
        return 1.0
    current = positions[k:]
    before = np.lib.stride_tricks.sliding_window_view(positions[:-1], k)
    # k distinct positions that all lie in an interval of length k fill it.
    filled = (before.min(axis=1) >= current - k) & (before.max(axis=1) < current)
    return float(filled.mean())


def global_ar_ness(order: Sequence[int], k: int = 1, never: Sequence[int] = ()) -> float:
    """Compute the share of steps whose token was among the k left-most that were still masked: global AR-ness@k.

    Masked means committed at this step or later, or ``never``. Never lower for larger k; left to right gives 1 for
    every k.

    ``order`` and ``never`` hold distinct positions and k is at least 1.
    """
    if not len(order):
        return 1.0
    backwards = np.asarray([*order, *never], dtype=np.int64)[::-1]
    # From the last step back, each position joins the k smallest so far: it displaces the smallest if it is
    # smaller, what loses there meets the second smallest, and so on. Costs k passes over the order.
    left_most = np.minimum.accumulate(backwards)
    contenders = backwards
    for _ in range(min(k, len(backwards)) - 1):
        losers = np.maximum(contenders[1:], left_most[:-1])
        contenders = np.concatenate(([np.iinfo(np.int64).max], losers))
        left_most = np.minimum.accumulate(contenders)
    return float((backwards <= left_most)[len(never) :].mean())
