"""The reward worker's loop: completions in, rewards out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from common import rng
from common.records import Purpose, RecordError, RolloutGroup, Score, TrajectoryGroup
from common.streams import Delivery
from reward_service.scoring import Scorer

_POLL_SECONDS = 0.5


class Inbox(Protocol):
    """The rollout stream."""

    def read(self, count: int, wait: float) -> list[Delivery]: ...
    def holding(self, deliveries: Sequence[Delivery]) -> AbstractContextManager[None]: ...
    def bury(self, delivery: Delivery, reason: str) -> None: ...


class RewardLoop:
    """Scores one group after the other; ``publish`` hands a result on and acknowledges its cause."""

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        publish: Callable[[Delivery, TrajectoryGroup], None],
        scorer: Scorer,
        deliveries: int,
        shuffle: bool,
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._publish = publish
        self._scorer = scorer
        self._deliveries = deliveries
        self._shuffle = shuffle

    def run(self, stopping: Callable[[], bool], on_group: Callable[[TrajectoryGroup], None]) -> None:
        """Work until told to stop; ``on_group`` is told every scored group."""
        while not stopping():
            for delivery in self._inbox.read(1, _POLL_SECONDS):
                try:
                    group = RolloutGroup.decode(delivery.data)
                except RecordError as error:
                    self._inbox.bury(delivery, str(error))
                    continue
                # Publishing may wait for room, and nobody else may take the group meanwhile.
                with self._inbox.holding([delivery]):
                    result = self._score(delivery, group)
                    self._publish(delivery, result)
                on_group(result)

    def _score(self, delivery: Delivery, group: RolloutGroup) -> TrajectoryGroup:
        if delivery.attempt > self._deliveries:
            reason = f"scoring did not finish in {self._deliveries} attempts"
            return TrajectoryGroup.from_lost(group.prompt, self._name, reason)
        started = time.perf_counter()
        try:
            scores = self._scorer.score_group(group.prompt.task, [rollout.text for rollout in group.rollouts])
        except ValueError as error:
            return TrajectoryGroup.from_lost(group.prompt, self._name, f"cannot be scored: {error}")
        if self._shuffle and group.prompt.purpose is Purpose.TRAIN:
            scores = shuffled(scores, group.prompt.seed, group.prompt.index)
        return TrajectoryGroup(
            prompt=group.prompt,
            rollouts=group,
            scores=tuple(scores),
            worker=self._name,
            seconds=time.perf_counter() - started,
        )


def shuffled(scores: Sequence[Score], seed: int, group: int) -> list[Score]:
    """The control experiment: the same rewards, dealt to the group's samples at random."""
    order = rng.stream(seed, "shuffled-rewards", group).permutation(len(scores))
    return [scores[i] for i in order]
