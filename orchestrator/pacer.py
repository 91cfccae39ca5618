"""How far admission runs ahead of training. Pure.

Groups that wait for the learner grow old for nothing, and a learner that waits for groups stands idle. The lead is
as small as keeps the learner fed: where it is the bottleneck, staleness stays near one version, however much is
allowed; where rollouts are, the lead is all that is allowed.
"""

from __future__ import annotations

import math
from collections import deque

#: A learner that waits for a larger share of a step is short of groups.
_WAIT_SHARE = 0.05
#: Groups that were left over at every one of so many steps are not needed.
_STEPS_LOOKED_AT = 4


class Pacer:
    """Choose ``lead``: how many groups may be admitted and not trained when a step begins, its own included.

    That is two steps' groups at least (one without staleness), so that the next step's are made while one is
    trained, and ``max_staleness + 1`` steps' at most.
    """

    def __init__(self, groups_per_step: int, max_staleness: int) -> None:
        self._groups_per_step = groups_per_step
        self._least = groups_per_step * min(2, max_staleness + 1)
        self._most = groups_per_step * (max_staleness + 1)
        self._left_over: deque[int] = deque(maxlen=_STEPS_LOOKED_AT)
        self.lead = self._least

    def step_ended(self, waited: float, left_over: int) -> None:
        """Learn from a step: the share of it that the learner ``waited`` for groups, and the groups ``left_over``.

        Those had come before it began, and were not needed for it.
        """
        if waited > _WAIT_SHARE:
            self._left_over.clear()
            more = math.ceil(self._groups_per_step * min(1.0, waited))
            self.lead = min(self._most, self.lead + more)
            return
        self._left_over.append(left_over)
        if len(self._left_over) == _STEPS_LOOKED_AT and min(self._left_over):
            self.lead = max(self._least, self.lead - min(self._left_over))
            self._left_over.clear()
