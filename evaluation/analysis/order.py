"""The order in which a completion was written, in figures: AR-ness at any k, Kendall's tau, average first-passage.

All are functions of a step map, [L] with the denoising step that committed each position and -1 where none did. A
completion has two: that of its text, the positions up to its end, and the executed one, of all positions, with the
commits behind the end of the text. Both are reported, as they may differ much: a model that fills its tail first,
from the right, and then writes its text in order has a tau of 1 by the one and of less than 0 by the other.

The measures differ in how they read the positions of one step. AR-ness takes them as written from left to right
(:mod:`common.ar_ness`). Kendall's tau takes a pair of them as tied, neither in order nor out of it. First-passage
goes by steps, and all positions of a step are passed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.ar_ness import decode_order, local_ar_ness

_NEVER = np.iinfo(np.int64).max


def ar_ness(step_map: Sequence[int], ks: Sequence[int]) -> dict[str, float]:
    """Compute local and global AR-ness at every k of ``ks``, as ``local@k`` and ``global@k``.

    The definitions are those of :mod:`common.ar_ness`, and the global measure of all k takes one count. Positions
    of step -1 stay masked to the end. A measure that has no step to judge is left out: local AR-ness@k of at most
    k tokens, and both where nothing is committed.
    """
    order, left = decode_order(step_map), masked_to_the_left(step_map)
    local = {f"local@{k}": local_ar_ness(order, k) for k in ks if len(order) > k}
    return local | {f"global@{k}": float((left < k).mean()) for k in ks if len(left)}


def masked_to_the_left(step_map: Sequence[int]) -> npt.NDArray[np.int64]:
    """Count, for each committed position [n] in ascending order, the positions to its left that are masked when it
    is committed.

    Masked means committed at a later step, or never: those of its own step are written before it. Global AR-ness@k
    is the share of these counts that are below k.
    """
    steps = np.asarray(step_map, dtype=np.int64)
    committed = steps >= 0
    ends = np.where(committed, steps, _NEVER)
    later = np.triu(ends[:, None] > ends[None, :])  # [i, j]: i, to the left of j, is committed after it
    counts: npt.NDArray[np.int64] = later.sum(0)[committed]
    return counts


def kendall_tau(step_map: Sequence[int]) -> float | None:
    """Compute Kendall's tau-b between position and step: 1 from left to right, -1 from right to left.

    Of all pairs of committed positions, C have the left one committed first, D the right one, and T were committed
    in one step: tau-b = (C - D) / sqrt((C + D) (C + D + T)) (Kendall 1945). Positions are never tied, steps may
    be. Where T > 0 it stays below 1 in absolute value; :func:`tied_pairs` says how much there is of that. ``None``
    where no two positions were committed in different steps. Positions of step -1 are left out.
    """
    committed = [step for step in step_map if step >= 0]
    pairs = len(committed) * (len(committed) - 1) // 2
    untied = pairs - _tied(committed)
    if not untied:
        return None
    discordant = int(masked_to_the_left(committed).sum())
    return float((untied - 2 * discordant) / np.sqrt(float(untied) * pairs))


def tied_pairs(step_map: Sequence[int]) -> float:
    """Compute the share of the pairs of committed positions that were committed in one step; 0 without a pair."""
    committed = [step for step in step_map if step >= 0]
    pairs = len(committed) * (len(committed) - 1) // 2
    return _tied(committed) / pairs if pairs else 0.0


def average_first_passage(step_map: Sequence[int]) -> float | None:
    """Compute how much of the decoding has passed, on average over positions, until all up to a position is
    written.

    Number the steps that commit something 1 to S, and the committed positions 1 to n from the left. The first
    passage of position m is the step at which the last of the positions 1 to m is committed: the first one after
    which the front of the unbroken text has passed m. The mean over m, divided by S, is in (0, 1]. One token a
    step from left to right gives (n + 1) / 2n, about a half and the least there is; an order whose first position
    comes last gives 1. Positions of one step are passed at once. ``None`` where nothing is committed; positions of
    step -1 are left out.
    """
    committed = [step for step in step_map if step >= 0]
    if not committed:
        return None
    distinct, numbers = np.unique(committed, return_inverse=True)
    return float((np.maximum.accumulate(numbers) + 1).mean() / len(distinct))


def _tied(steps: Sequence[int]) -> int:
    """Count the pairs of equal steps."""
    _, counts = np.unique(np.asarray(steps, dtype=np.int64), return_counts=True)
    return int((counts * (counts - 1) // 2).sum())
