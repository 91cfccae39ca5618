"""The ranks of reinforcement learning: a group that also publishes its weights to the rollout workers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from common.config import Config
from common.streams import StreamError
from common.weights.broadcast import GRACE_SECONDS, Location
from common.weights.broadcast_group import Plan
from common.weights.publisher import Offer, Publication
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

    @property
    def location(self) -> Location:
        """Where rank 0 runs."""
        if self._location is None:
            raise RuntimeError("the learner has not been started")
        return self._location

    def start(self, checkpoint: Path | None, watch: Callable[[], None] | None = None) -> None:
        """Spawn and join the ranks, as :meth:`RankGroup.start` does. Raises LearnerDiedError."""
        self._meeting_point = None
        super().start(checkpoint, watch)
        self._location = self._get([self._ranks[0].location.remote()], self._deadlines.start_seconds)[0]

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
        from now on they wait for Redis no more. Raises LearnerDiedError.
        """
        self._ranks[0].interrupt.remote()
        try:
            return super().interrupt()
        except StreamError:  # that step has not begun
            self._stepping = []
            return super().interrupt()
