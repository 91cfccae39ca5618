"""The groups that hold up a learner which does not wait for them. Pure."""

from __future__ import annotations

import heapq


class LateGroups:
    """Count the groups that as many later ones have overtaken as a step takes."""

    def __init__(self, groups_per_step: int) -> None:
        self.count = 0
        self._groups_per_step = groups_per_step
        self._latest: list[int] = []  # a heap of the highest that have arrived, as many as a step takes
        self._here: set[int] = set()
        self._bound = 0

    def arrived(self, group: int) -> None:
        """Take note that a group is there."""
        self._here.add(group)
        if group < self._bound:
            self.count -= 1
        heapq.heappush(self._latest, group)
        if len(self._latest) > self._groups_per_step:
            heapq.heappop(self._latest)
        if len(self._latest) == self._groups_per_step:
            bound = max(self._bound, self._latest[0])
            self.count += sum(index not in self._here for index in range(self._bound, bound))
            self._here -= set(range(self._bound, bound))
            self._bound = bound
