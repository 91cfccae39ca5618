"""How many groups may be admitted now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ledger:
    """What became of every admitted group. ``admitted == trained + filtered + dropped + in_flight``, always.

    ``in_flight`` is derived: a group is in flight from admission until the learner has trained, filtered or
    dropped it, wherever it is meanwhile. When a learner restarts from a checkpoint, its three counts fall back to
    the checkpoint's and the groups it had consumed since are in flight again.
    """

    admitted: int = 0
    trained: int = 0
    filtered: int = 0
    dropped: int = 0

    @property
    def in_flight(self) -> int:
        return self.admitted - self.trained - self.filtered - self.dropped


def capacity(
    ledger: Ledger, *, version: int, steps: int, groups_per_step: int, max_staleness: int, max_in_flight: int
) -> int:
    """Groups that may be admitted without any being trained more than ``max_staleness`` versions late.

    ``version`` counts the learner steps done. No group is admitted for a step past ``steps``, the run's last.
    """
    horizon = min(max_staleness + version + 1, steps) * groups_per_step
    room = horizon - (ledger.trained + ledger.in_flight)
    return max(0, min(max_in_flight - ledger.in_flight, room))
