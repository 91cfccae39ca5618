"""The groups of the next learner step.

Without staleness, groups are taken in admission order: a step's batch does not depend on which worker was
fastest, and a replay after a crash builds the same batches. With staleness a step takes whatever groups have come,
the oldest first, so that a slow group holds up nobody. Pure: no Redis, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.records import TrajectoryGroup
from learner.progress import Outcome, Progress
from learner.reward_advantages import ScoreAdvantageMode, carries_signal


@dataclass(frozen=True)
class Discarded:
    """A group that will not be trained. ``reason`` says why it was lost; a group dropped for its age has none."""

    index: int
    task: str
    outcome: Outcome
    reason: str = ""


@dataclass
class Collector:
    """Buffers trajectories until the groups of one step have arrived.

    ``stale``: what happens to a group sampled more than ``max_staleness`` versions ago. ``zero_variance``:
    whether a group without a learning signal counts as trained (``score`` and ``skip``) or is replaced by another,
    where ``advantage`` says what the signal is made of. ``keep_flat``: keep in the progress which tasks have none.
    """

    groups_per_step: int
    max_staleness: int
    stale: Literal["drop", "wait"]
    zero_variance: Literal["score", "skip", "replace"]
    progress: Progress
    advantage: ScoreAdvantageMode = "mean"
    keep_flat: bool = False
    _waiting: dict[int, TrajectoryGroup] = field(default_factory=dict)
    _discarded: list[Discarded] = field(default_factory=list)
    _signals: list[tuple[int, str, bool]] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Groups that are there for the steps to come."""
        return len(self._waiting)

    def offer(self, group: TrajectoryGroup) -> bool:
        """Take a group in: discard it now, or keep it for a step. Returns False for a duplicate.

        Handling is idempotent by group index.
        """
        index = group.prompt.index
        if not self.lacks(index):
            return False
        self._waiting[index] = group
        self._discard([index])
        return True

    def lacks(self, index: int) -> bool:
        """Tell whether the group with this index is still to come: neither consumed nor waiting."""
        return not self.progress.holds(index) and index not in self._waiting

    def take(self) -> Sequence[TrajectoryGroup] | None:
        """Take the groups of the next step, by index, and count them as trained; None where they are not there."""
        self._discard(list(self._waiting))  # what has grown too old meanwhile
        chosen = self._ready()[: self.groups_per_step]
        if len(chosen) < self.groups_per_step:
            return None
        for index in chosen:
            self.progress.count(index, Outcome.TRAINED)
        batch = [self._waiting.pop(index) for index in sorted(chosen)]
        if self.keep_flat:
            trained = [(g.prompt.index, g.prompt.task.id, carries_signal(g.scores, self.advantage)) for g in batch]
            self.progress.note_signals([*self._signals, *trained])
        self._signals = []
        return batch

    def take_discarded(self) -> Sequence[Discarded]:
        """Return the groups that were discarded since the last call, which are counted already."""
        found, self._discarded = self._discarded, []
        return found

    def discard_again(self, decided: Sequence[Discarded]) -> None:
        """Count groups that were discarded after the checkpoint that the progress comes from."""
        for one in decided:
            if not self.progress.holds(one.index):
                self._count(one)

    def missing(self) -> Sequence[int]:
        """List the groups, in order, that have not come although later ones have."""
        progress, waiting = self.progress, list(self._waiting)  # another thread may ask
        here = {*progress.ahead, *waiting}
        end = max([progress.end, *(index + 1 for index in waiting)])
        return [index for index in range(progress.next_index, end) if index not in here]

    def late(self) -> int:
        """Count the missing groups that as many others have overtaken as a step takes: they are slow, or stuck.

        None is where groups are taken in order: all wait for it.
        """
        if not self.max_staleness:
            return 0
        here = [*self.progress.ahead, *self._waiting]
        return sum(sum(index > one for index in here) >= self.groups_per_step for one in self.missing())

    def discarded_before_missing(self) -> int:
        """Count the discarded groups before the first that has not come, as far as that is known.

        In order it is known. Out of order, groups that were trained after it are taken for discarded.
        """
        progress, missing = self.progress, self.missing()
        after = sum(index > missing[0] for index in progress.ahead) if missing else 0
        return max(0, progress.filtered + progress.dropped - after)

    def _discard(self, indices: Sequence[int]) -> None:
        """Discard those of the waiting groups that are not to be trained."""
        for index in indices:
            group = self._waiting[index]
            outcome, reason = self._judge(group)
            if outcome is not Outcome.TRAINED:
                del self._waiting[index]
                self._discarded.append(Discarded(index, group.prompt.task.id, outcome, reason))
                self._count(self._discarded[-1])

    def _count(self, discarded: Discarded) -> None:
        self.progress.count(discarded.index, discarded.outcome)
        if discarded.outcome is Outcome.FILTERED:
            self._signals.append((discarded.index, discarded.task, False))

    def _judge(self, group: TrajectoryGroup) -> tuple[Outcome, str]:
        """Return what becomes of a group, now or later, and the reason of one that was lost."""
        if group.lost is not None or group.rollouts is None:
            return Outcome.DROPPED, group.lost or "no rollouts"
        # Before its age, which grows: when a group comes does not decide what becomes of one without a signal.
        if self.zero_variance == "replace" and not carries_signal(group.scores, self.advantage):
            return Outcome.FILTERED, ""
        staleness = self.progress.version - group.rollouts.version
        if self.stale == "drop" and staleness > self.max_staleness:
            return Outcome.DROPPED, ""
        return Outcome.TRAINED, ""

    def _ready(self) -> Sequence[int]:
        """List the waiting groups that a step may take now, those first that it is to take first."""
        if self.max_staleness:
            return sorted(self._waiting, key=self._age)
        missing = self.missing()
        return sorted(index for index in self._waiting if not missing or index < missing[0])

    def _age(self, index: int) -> tuple[int, int]:
        """Return the version of the weights that a waiting group was sampled by, then its index."""
        rollouts = self._waiting[index].rollouts
        assert rollouts is not None  # else it is not kept
        return rollouts.version, index
