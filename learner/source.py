"""Rank 0's view of the trajectory stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from common.records import TrajectoryGroup
from common.streams import Consumer, Delivery, Streams
from learner.collector import Collector

#: The counter of the first group that no checkpoint holds.
CHECKPOINTED = "checkpointed"

_POLL_SECONDS = 0.5
_READ_COUNT = 64


class StepDeadlineError(TimeoutError):
    """The groups of a step did not arrive in time; the message says what is missing."""


class TrajectorySource:
    """Reads trajectories, gives the learner complete steps, and acknowledges them once checkpointed.

    What was delivered but not checkpointed before a crash is delivered again at construction, so a restarted
    learner trains it again from the checkpoint's weights. The counter ``checkpointed`` is the index up to which
    groups may be gone from the stream; it is set before they go. Once ``interrupted`` is set, a step that still
    waits for groups is not begun.
    """

    def __init__(
        self,
        streams: Streams,
        consumer: Consumer,
        collector: Collector,
        deadline: float,
        interrupted: threading.Event,
    ) -> None:
        self._streams = streams
        self._consumer = consumer
        self._collector = collector
        self._deadline = deadline
        self._interrupted = interrupted
        self._unacknowledged: dict[int, bytes] = {}
        self._report_checkpointed()
        self._take_in(consumer.read_pending())
        self._report_progress()

    def next_groups(self) -> Sequence[TrajectoryGroup] | None:
        """Block until the groups of a step have arrived; return None for a step that was interrupted before.

        Raises StepDeadlineError.
        """
        end = time.monotonic() + self._deadline
        while True:
            groups = self._collector.take()
            interrupted = groups is None and self._interrupted.is_set()
            if interrupted:
                self._collector.put_back()
            self._report_progress()
            if groups is not None or interrupted:
                return groups
            if time.monotonic() > end:
                progress = self._collector.progress
                raise StepDeadlineError(
                    f"learner step {progress.version + 1} waited {self._deadline:.0f} s "
                    f"(deadlines.step_seconds) for group {progress.next_index}: its rollout or reward never came"
                )
            self._take_in(self._consumer.read(_READ_COUNT, wait=_POLL_SECONDS))

    def checkpointed(self) -> None:
        """Acknowledge what was consumed: a checkpoint holds it now."""
        self._report_checkpointed()
        done = [i for i in self._unacknowledged if i < self._collector.progress.next_index]
        self._consumer.acknowledge(self._unacknowledged.pop(i) for i in done)

    def _take_in(self, deliveries: Sequence[Delivery]) -> None:
        for delivery, group in self._consumer.decode(TrajectoryGroup, deliveries):
            if self._collector.offer(group):
                self._unacknowledged[group.prompt.index] = delivery.id
            else:
                self._consumer.acknowledge([delivery.id])

    def _report_checkpointed(self) -> None:
        self._streams.set_counters({CHECKPOINTED: self._collector.progress.next_index})

    def _report_progress(self) -> None:
        progress = self._collector.progress
        self._streams.set_counters(
            {"trained": progress.trained, "filtered": progress.filtered, "dropped": progress.dropped}
        )
