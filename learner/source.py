"""Rank 0's view of the trajectory stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from common.errors import RunFailedError
from common.records import TrajectoryGroup
from common.streams import Consumer, Delivery, Streams
from learner.arrivals import Arrivals
from learner.collector import Collector
from learner.decisions import Decisions

#: The counter of the groups that the last checkpoint holds.
CHECKPOINTED = "checkpointed"

_POLL_SECONDS = 0.5
_READ_COUNT = 64


class StepDeadlineError(TimeoutError):
    """The groups of a step did not arrive in time; the message says what came, and what is missing."""


class StepLostError(RunFailedError):
    """The groups of a step come, but none of use: waiting, or starting again, would only bring more of them."""


class TrajectorySource:
    """Reads trajectories, gives the learner complete steps, and acknowledges them once they are durable.

    What was delivered but not checkpointed before a crash is delivered again at construction, so a restarted
    learner trains it again from the checkpoint's weights. Groups that are discarded go at once: what was decided
    is recorded before. The counter ``checkpointed`` counts the groups that may be gone because a checkpoint holds
    them; it is set before they go. Once ``interrupted`` is set, a step that still waits for groups is not begun.
    ``max_discarded``: how many steps' groups may be discarded for one step; 0 for any number.
    """

    def __init__(
        self,
        streams: Streams,
        consumer: Consumer,
        collector: Collector,
        deadline: float,
        interrupted: threading.Event,
        max_discarded: int = 0,
    ) -> None:
        self._streams = streams
        self._consumer = consumer
        self._collector = collector
        self._deadline = deadline
        self._interrupted = interrupted
        self._max_discarded = max_discarded * collector.groups_per_step
        self._decisions = Decisions(streams)
        self._arrivals = Arrivals()
        self._unacknowledged: dict[int, bytes] = {}
        self._report_checkpointed()
        collector.discard_again(self._decisions.load())
        self._take_in(consumer.read_pending())
        self._report_progress()

    @property
    def spare(self) -> int:
        """Groups that are there beyond those of the steps that were given out."""
        return self._collector.waiting

    def next_groups(self) -> Sequence[TrajectoryGroup] | None:
        """Block until the groups of a step have arrived; return None for a step that was interrupted before.

        Raises StepDeadlineError, or StepLostError.
        """
        end = time.monotonic() + self._deadline
        while True:
            groups = self._collector.take()
            self._settle()
            if groups is not None:
                self._arrivals = Arrivals(kept=self._collector.waiting)
                return groups
            if self._interrupted.is_set():
                return None
            self._check_use()
            if time.monotonic() > end:
                raise StepDeadlineError(self._why_late())
            self._take_in(self._consumer.read(_READ_COUNT, wait=_POLL_SECONDS))

    def checkpointed(self) -> None:
        """Acknowledge what was consumed: a checkpoint holds it now."""
        self._report_checkpointed()
        progress = self._collector.progress
        done = [index for index in self._unacknowledged if progress.holds(index)]
        self._consumer.acknowledge(self._unacknowledged.pop(index) for index in done)
        self._decisions.forget()

    def _take_in(self, deliveries: Sequence[Delivery]) -> None:
        for delivery, group in self._consumer.decode(TrajectoryGroup, deliveries):
            index = group.prompt.index
            if self._collector.offer(group):
                self._unacknowledged[index] = delivery.id
                self._arrivals.keep()
            elif self._unacknowledged.get(index) != delivery.id:
                self._consumer.acknowledge([delivery.id])
        self._settle()

    def _settle(self) -> None:
        """Make durable what became of groups, and let those go that were discarded."""
        discarded = self._collector.take_discarded()
        if discarded:
            self._decisions.record(discarded)
            self._arrivals.discard(discarded)
            self._consumer.acknowledge(self._unacknowledged.pop(one.index) for one in discarded)
        self._report_progress()

    def _check_use(self) -> None:
        """Raise StepLostError where what comes for a step is of no use."""
        step, arrivals = self._collector.progress.version + 1, self._arrivals
        reason = arrivals.only_reason()
        if reason is not None and arrivals.lost >= self._collector.groups_per_step:
            raise StepLostError(f"learner step {step}: all its groups are lost, for one reason: {reason}")
        if 0 < self._max_discarded < arrivals.discarded:
            raise StepLostError(
                f"learner step {step}: {arrivals.describe()}; that is more than {self._max_discarded} without use "
                "(admission.max_discarded times learner.groups_per_step): train on tasks that the model solves "
                "sometimes, set learner.zero_variance_groups: skip, or raise the limit"
            )

    def _why_late(self) -> str:
        progress = self._collector.progress
        missing = self._collector.missing() or [progress.end]
        return (
            f"learner step {progress.version + 1} waited {self._deadline:.0f} s (deadlines.step_seconds) for "
            f"{self._collector.groups_per_step} groups; {self._arrivals.describe()}; the rollout or reward of "
            f"group {missing[0]} never came"
        )

    def _report_checkpointed(self) -> None:
        self._streams.set_counters({CHECKPOINTED: self._collector.progress.consumed})

    def _report_progress(self) -> None:
        progress = self._collector.progress
        self._streams.set_counters(
            {
                "trained": progress.trained,
                "filtered": progress.filtered,
                "dropped": progress.dropped,
                "late": self._collector.late(),
            }
        )
