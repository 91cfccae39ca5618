"""How many steps a run has gone on without a better reward."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

#: Steps over which rewards are averaged: the mean of one step's samples is noisy.
WINDOW = 10
#: What counts as a rise, as a share of the reward's standard deviation.
RISE = 0.1
KEY = "reward/plateau"


class RewardPlateau:
    """Count the steps since the reward last rose.

    The level of a step is the mean of ``reward/mean`` over it and the nine before. It rises where it exceeds the
    level of the last rise by a tenth of ``reward/std``, averaged over the same steps. The first ten steps have no
    level to exceed yet, and count as rises.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the steps before, which are lines of ``metrics.jsonl``."""
        self._means: deque[float] = deque(maxlen=WINDOW)
        self._spreads: deque[float] = deque(maxlen=WINDOW)
        self._risen_to = 0.0
        self._steps = 0
        for record in records:
            self.add(record)

    def add(self, metrics: Mapping[str, Any]) -> int:
        """Take in the metrics of a step, and return how many steps ago the reward last rose."""
        first_levels = len(self._means) < WINDOW
        self._means.append(metrics["reward/mean"])
        self._spreads.append(metrics["reward/std"])
        level = sum(self._means) / len(self._means)
        rise = RISE * sum(self._spreads) / len(self._spreads)
        if first_levels or level > self._risen_to + rise:
            self._risen_to = level
            self._steps = 0
        else:
            self._steps += 1
        return self._steps
