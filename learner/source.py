"""Rank 0's view of the trajectory stream."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from common.records import TrajectoryGroup
from common.streams import Consumer, Delivery, StreamError, Streams
from learner.collector import Collector

#: The counter of the first group that no checkpoint holds.
CHECKPOINTED = "checkpointed"

_POLL_SECONDS = 0.5
_READ_COUNT = 64


class StepDeadlineError(TimeoutError):
    """The groups of a step did not arrive in time; the message says what is missing."""


class _Interrupted(Exception):  # noqa: N818
    """The step is not to begin, and Redis is away."""


@dataclass(frozen=True)
class Lacking:
    """What the learner lacks: the ``indices`` of groups that were admitted and have not come.

    ``counters``: what it has told of its progress.
    """

    indices: tuple[int, ...]
    counters: dict[str, int]


class TrajectorySource:
    """Reads trajectories, gives the learner complete steps, and acknowledges them once checkpointed.

    What was delivered but not checkpointed before a crash is delivered again at construction, so a restarted
    learner trains it again from the checkpoint's weights. The counter ``checkpointed`` is the index up to which
    groups may be gone from the stream; it is set before they go. Once ``interrupted`` is set, a step that still
    waits for groups is not begun.

    Redis may be away for as long as the patience of ``streams`` lasts. Then ``trouble`` is why it cannot be used;
    no step begins any more, and a checkpoint can still be written.
    """

    def __init__(
        self,
        streams: Streams,
        consumer: Consumer,
        collector: Collector,
        deadline: float,
        interrupted: threading.Event,
    ) -> None:
        self.trouble: StreamError | None = None
        self._streams = streams
        self._consumer = consumer
        self._collector = collector
        self._deadline = deadline
        self._interrupted = interrupted
        self._unacknowledged: dict[int, bytes] = {}
        self._checkpointed = collector.progress.next_index
        streams.patience.also(self._end_wait_if_interrupted)
        self._report_progress()
        self._take_in(consumer.read_pending())
        self._report_progress()

    def next_groups(self) -> Sequence[TrajectoryGroup] | None:
        """Block until the groups of a step have arrived; return None for a step that is not to begin.

        It was interrupted before, or Redis cannot be used (``trouble``). Raises StepDeadlineError.
        """
        if self.trouble is not None:
            return None
        try:
            groups = self._await_groups()
        except _Interrupted:
            groups = None
        except StreamError as error:
            self.trouble, groups = error, None
        if groups is None:
            self._collector.put_back()
            self._report_progress()
        return groups

    def lacking(self, admitted: int) -> Lacking:
        """Return which groups below index ``admitted`` have not come. Another thread may ask."""
        collector = self._collector
        indices = range(collector.progress.next_index, admitted)
        return Lacking(tuple(index for index in indices if collector.lacks(index)), self._counters())

    def checkpointed(self) -> None:
        """Acknowledge what was consumed: a checkpoint holds it now.

        What cannot be acknowledged, as Redis is away, a later process acknowledges at its start.
        """
        self._checkpointed = self._collector.progress.next_index
        if self.trouble is not None:
            return
        done = [i for i in self._unacknowledged if i < self._checkpointed]
        self._report_progress()
        try:
            self._consumer.acknowledge([self._unacknowledged[i] for i in done])
        except _Interrupted:
            return
        except StreamError as error:
            self.trouble = error
            return
        for index in done:
            del self._unacknowledged[index]

    def _await_groups(self) -> Sequence[TrajectoryGroup] | None:
        end = self._streams.deadline(self._deadline)
        while True:
            groups = self._collector.take()
            self._report_progress()
            if groups is not None or self._interrupted.is_set() or self.trouble is not None:
                return groups
            if end.passed:
                progress = self._collector.progress
                raise StepDeadlineError(
                    f"learner step {progress.version + 1} waited {self._deadline:.0f} s "
                    f"(deadlines.step_seconds) for group {progress.next_index}: its rollout or reward never came"
                )
            self._take_in(self._consumer.read(_READ_COUNT, wait=_POLL_SECONDS))

    def _end_wait_if_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise _Interrupted

    def _take_in(self, deliveries: Sequence[Delivery]) -> None:
        for delivery, group in self._consumer.decode(TrajectoryGroup, deliveries):
            if self._collector.offer(group):
                self._unacknowledged[group.prompt.index] = delivery.id
            else:
                self._consumer.acknowledge([delivery.id])

    def _report_progress(self) -> None:
        """Tell the orchestrator, which is no reason to give up groups that are here.

        Where the server has no memory for it, it is told later: this process acknowledges what frees memory.
        """
        try:
            self._streams.report(self._counters())
        except _Interrupted:
            return
        except StreamError as error:
            self.trouble = error

    def _counters(self) -> dict[str, int]:
        progress = self._collector.progress
        return {
            "trained": progress.trained,
            "filtered": progress.filtered,
            "dropped": progress.dropped,
            CHECKPOINTED: self._checkpointed,
        }
