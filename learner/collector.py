"""The groups of the next learner step.

Groups are taken in admission order, so a step's batch does not depend on which worker was fastest, and a replay
after a crash builds the same batches. Pure: no Redis, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Literal

from common.records import TrajectoryGroup
from learner.reward_advantages import ScoreAdvantageMode, carries_signal


class Outcome(StrEnum):
    TRAINED = "trained"
    FILTERED = "filtered"
    DROPPED = "dropped"


@dataclass
class Progress:
    """The learner's counts; with the position ``next_index`` they are all of the data state a checkpoint needs.

    ``version`` counts learner steps, ``updates`` optimizer steps.
    """

    version: int = 0
    updates: int = 0
    next_index: int = 0
    trained: int = 0
    filtered: int = 0
    dropped: int = 0

    def count(self, outcome: Outcome) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.next_index += 1


@dataclass
class Collector:
    """Buffers trajectories until the groups of one step have arrived.

    ``stale``: what happens to a group sampled more than ``max_staleness`` versions ago. ``zero_variance``:
    whether a group without a learning signal counts as trained (``score`` and ``skip``) or is replaced by another,
    where ``advantage`` says what the signal is made of.
    """

    groups_per_step: int
    max_staleness: int
    stale: Literal["drop", "wait"]
    zero_variance: Literal["score", "skip", "replace"]
    progress: Progress
    advantage: ScoreAdvantageMode = "mean"
    _waiting: dict[int, TrajectoryGroup] = field(default_factory=dict)
    _taken: list[TrajectoryGroup] = field(default_factory=list)
    _of_step: list[TrajectoryGroup] = field(default_factory=list)
    _before_step: Progress = field(default_factory=Progress)

    def offer(self, group: TrajectoryGroup) -> bool:
        """Buffer a group. Returns False for a duplicate: handling is idempotent by group index."""
        if not self.lacks(group.prompt.index):
            return False
        self._waiting[group.prompt.index] = group
        return True

    def lacks(self, index: int) -> bool:
        """Tell whether the group of an index is still to come: it was neither consumed nor is it buffered."""
        return index >= self.progress.next_index and index not in self._waiting

    def take(self) -> Sequence[TrajectoryGroup] | None:
        """Take the groups of the next step once complete, else None; progress counts what was consumed so far."""
        while len(self._taken) < self.groups_per_step and self.progress.next_index in self._waiting:
            if not self._taken:
                self._before_step, self._of_step = replace(self.progress), []
            group = self._waiting.pop(self.progress.next_index)
            self._of_step.append(group)
            outcome = self._outcome(group)
            self.progress.count(outcome)
            if outcome is Outcome.TRAINED:
                self._taken.append(group)
        if len(self._taken) < self.groups_per_step:
            return None
        batch, self._taken = self._taken, []
        return batch

    def put_back(self) -> None:
        """Undo what was taken and counted for a step that lacks groups."""
        if not self._taken:
            return
        self._waiting |= {group.prompt.index: group for group in self._of_step}
        self._taken = []
        for count in fields(Progress):
            setattr(self.progress, count.name, getattr(self._before_step, count.name))

    def _outcome(self, group: TrajectoryGroup) -> Outcome:
        if group.lost is not None or group.rollouts is None:
            return Outcome.DROPPED
        staleness = self.progress.version - group.rollouts.version
        if self.stale == "drop" and staleness > self.max_staleness:
            return Outcome.DROPPED
        if self.zero_variance == "replace" and not carries_signal(group.scores, self.advantage):
            return Outcome.FILTERED
        return Outcome.TRAINED
