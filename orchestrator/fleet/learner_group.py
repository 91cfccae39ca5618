"""The ranks of reinforcement learning: a group that also publishes its weights to the rollout workers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ray

from common.config import Config
from common.streams import StreamError
from common.turns import Turn
from common.weights.location import Location
from common.weights.messages import GRACE_SECONDS, Offer, Plan, Publication
from learner.learner_loop import StepReport
from learner.source import Lacking
from orchestrator.fleet.rank_group import RankGroup
from orchestrator.fleet.spawning import Spawner


class LearnerGroup(RankGroup[StepReport]):
    """Drive all ranks of the learner: their steps, and how their weights are published."""

    def __init__(self, config: Config, spawn: Spawner, check_stop: Callable[[], None]) -> None:
        super().__init__(config, spawn, check_stop)
        self._location: Location | None = None
        self._meeting_point: tuple[str, int] | None = None
        self._collecting: list[Any] = []
        self._collected = False

    @property
    def location(self) -> Location:
        """Where rank 0 runs."""
        if self._location is None:
            raise RuntimeError("the learner has not been started")
        return self._location

    def start(self, checkpoint: Path | None, watch: Callable[[], None] | None = None) -> None:
        """Spawn and join the ranks, as :meth:`RankGroup.start` does. Raises LearnerDiedError."""
        self._meeting_point = None
        self._collecting, self._collected = [], False
        super().start(checkpoint, watch)
        self._location = self._get([self._ranks[0].location.remote()], self._deadlines.start_seconds)[0]

    def sleep(self) -> dict[str, Turn]:
        """Have all ranks give the memory of their devices back; return the turns that they end, by their names.

        Raises LearnerDiedError.
        """
        turns = self._together("sleep", deadline=self._deadlines.weights_seconds)
        return dict(zip(self._names, turns, strict=True))

    def wake(self) -> None:
        """Have all ranks take the memory of their devices again. Raises LearnerDiedError."""
        self._get(self._under_way, self._deadlines.weights_seconds)  # a sleep that an exception has left
        self._together("wake", deadline=self._deadlines.weights_seconds)

    def begin_collecting(self) -> None:
        """Have the ranks wait, asleep, for the groups of the next step."""
        self._collecting = [rank.collect.remote() for rank in self._ranks]

    def poll_collecting(self, wait: float) -> bool:
        """Wait up to ``wait`` seconds for rank 0 to have its groups; tell whether it has.

        Raises LearnerDiedError where any rank dies, and StreamError.
        """
        done, _ = ray.wait(self._collecting[:1], timeout=wait)
        done += ray.wait(self._collecting, num_returns=len(self._collecting), timeout=0)[0]
        try:
            self._check(self._collecting, done)
        except StreamError:
            self._collecting = []
            raise
        self.watch()
        return self._end_collecting(1.0) if self._collecting[0] in done else False

    def begin_step(self, checkpoint: bool) -> None:
        """Begin a step as :meth:`RankGroup.begin_step` does, with the groups that were collected, if any."""
        self._collected = False
        super().begin_step(checkpoint)

    def _end_collecting(self, deadline: float) -> bool:
        self._collected = bool(self._get(self._collecting[:1], deadline)[0])
        self._collecting = []
        return self._collected

    def poll_step(self, wait: float) -> StepReport | None:
        """Poll the step as :meth:`RankGroup.poll_step` does. Raises StreamError too, with the step not begun."""
        try:
            return super().poll_step(wait)
        except StreamError:
            self._stepping = []
            raise

    def meeting_point(self) -> tuple[str, int]:
        """Return the address at which rank 0 meets the members of a broadcast. Raises LearnerDiedError."""
        if self._meeting_point is None:
            deadline = self._deadlines.weights_seconds
            self._meeting_point = self._get([self._ranks[0].meeting_point.remote()], deadline)[0]
        return self._meeting_point

    def offer(self, plan: Plan | None, keep: Collection[int]) -> Offer:
        """Have rank 0 take shared memory for the weights that are published next. Raises LearnerDiedError."""
        deadline = self._deadlines.weights_seconds
        offered: Offer = self._get([self._ranks[0].offer_weights.remote(plan, tuple(keep))], deadline)[0]
        return offered

    def begin_publish(self, plan: Plan | None) -> None:
        """Begin to publish the current weights, by broadcast too if there is a plan."""
        self._under_way = [rank.publish.remote(plan) for rank in self._ranks]

    def end_publish(self, failed_member: Callable[[], str | None]) -> Publication:
        """Wait for the publication; once ``failed_member`` names a lost receiver, a broadcast is called off.

        Raises LearnerDiedError.
        """

        def watch() -> None:
            reason = failed_member()
            if reason is not None:  # told again until it ends: the broadcast may not have begun yet
                self._ranks[0].call_off_broadcast.remote(reason)

        # Rank 0 gives a broadcast up after the deadline, asks who is there, and then still has weights to store.
        deadline = 2 * (self._deadlines.weights_seconds + GRACE_SECONDS)
        publication: Publication = self._get(self._under_way, deadline, watch)[0]
        self._under_way = []  # Ray keeps the buckets for as long as somebody holds the call that named them
        return publication

    def lacking(self, admitted: int) -> Lacking:
        """Return which groups below index ``admitted`` have not come to the learner. Raises LearnerDiedError."""
        found: Lacking = self._get([self._ranks[0].lacking.remote(admitted)], self._deadlines.start_seconds)[0]
        return found

    def interrupt(self) -> StepReport | None:
        """Have the ranks end what they do, so that they can write a checkpoint.

        A step that has its groups is trained to its end and reported; one that waits for them has not begun, and
        from now on they wait for Redis no more. The ranks are awake. Raises LearnerDiedError.
        """
        self._ranks[0].interrupt.remote()
        try:
            if self._collecting:
                self._end_collecting(self._deadlines.step_seconds)
            if self._collected:
                self.begin_step(checkpoint=False)
            return super().interrupt()
        except StreamError:  # that step has not begun
            self._stepping, self._collecting = [], []
            return super().interrupt()
