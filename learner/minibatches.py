"""Minibatches: the shares of a step's samples that its updates take in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from learner.samples import TrainingSample

#: Samples that have their parts in one term of a loss.
Linked = Sequence[TrainingSample]


def minibatches(linked: Sequence[Linked], count: int) -> list[list[Linked]]:
    """Cut what an objective links into ``count`` shares of whole groups, in their order.

    Shares differ by at most one group. With fewer groups than shares, groups are cut as well, but never what is
    linked; with fewer linked samples than shares, there are fewer shares. Pure and the same on every rank.
    """
    groups: dict[int, list[Linked]] = defaultdict(list)
    for samples in linked:
        groups[samples[0].group].append(samples)
    parts = list(groups.values()) if len(groups) >= count else [[samples] for samples in linked]
    shares = np.array_split(np.arange(len(parts)), count)
    return [[samples for part in share for samples in parts[part]] for share in shares if share.size]
