"""Rank 0's view of the trajectory stream."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

from common.errors import RunFailedError
from common.records import TrajectoryGroup
from common.streams import Consumer, Delivery, StreamError, Streams
from learner.arrivals import Arrivals
from learner.collector import Collector
from learner.decisions import Decisions
from learner.progress import Progress
from learner.read_ahead import ReadAhead

#: The counter of the groups that the last checkpoint holds.
CHECKPOINTED = "checkpointed"

_POLL_SECONDS = 0.5
_READ_COUNT = 64
#: Fewer groups than these may be lost by chance, all for one reason, where a step has few.
_LOST_ENOUGH = 8


class StepDeadlineError(TimeoutError):
    """The groups of a step did not arrive in time; the message says what came, and what is missing."""


class StepLostError(RunFailedError):
    """The groups of a step come, but none of use: waiting, or starting again, would only bring more of them."""


class _Interrupted(Exception):  # noqa: N818
    """The step is not to begin, and Redis is away."""


@dataclass(frozen=True)
class Lacking:
    """What the learner lacks: the ``indices`` of groups that were admitted and have not come.

    ``counters``: what it has told of its progress.
    """

    indices: tuple[int, ...]
    progress: Progress
    counters: dict[str, int]


class TrajectorySource:
    """Reads trajectories, gives the learner complete steps, and acknowledges them once they are durable.

    What was delivered but not checkpointed before a crash is delivered again at construction, so a restarted
    learner trains it again from the checkpoint's weights. Groups that are discarded go at once: what was decided
    is recorded before. The counter ``checkpointed`` counts the groups that may be gone because a checkpoint holds
    them; it is set before they go. Once ``interrupted`` is set, a step that still waits for groups is not begun.
    ``max_discarded``: how many steps' groups may be discarded for one step; 0 for any number.

    With staleness, groups come while a step is trained and checkpointed; they are read and decoded meanwhile.

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
        max_discarded: int = 0,
    ) -> None:
        self.trouble: StreamError | None = None
        self._streams = streams
        self._consumer = consumer
        self._collector = collector
        self._deadline = deadline
        self._interrupted = interrupted
        self._max_discarded = max_discarded * collector.groups_per_step
        self._decisions = Decisions(streams)
        self._arrivals = Arrivals()
        self._ahead = ReadAhead(self._read, failures=(StreamError, _Interrupted))
        self._unacknowledged: dict[int, bytes] = {}
        self._checkpointed = collector.progress.consumed
        streams.patience.also(self._end_wait_if_interrupted)
        collector.discard_again(self._decisions.load())
        self._report_progress()
        self._take_in(list(consumer.decode(TrajectoryGroup, consumer.read_pending())))

    @property
    def spare(self) -> int:
        """Groups that are there beyond those of the steps that were given out."""
        return self._collector.waiting

    def next_groups(self) -> Sequence[TrajectoryGroup] | None:
        """Block until the groups of a step have arrived; return None for a step that is not to begin.

        It was interrupted before, or Redis cannot be used (``trouble``). Raises StepDeadlineError or
        StepLostError.
        """
        if self.trouble is not None:
            return None
        try:
            self._take_in(self._ahead.stop())
            groups = self._await_groups()
        except _Interrupted:
            return None
        except StreamError as error:
            self.trouble = error
            return None
        if groups is not None and self._collector.max_staleness:
            self._ahead.start()
        return groups

    def lacking(self, admitted: int) -> Lacking:
        """Return which groups below index ``admitted`` have not come. Another thread may ask."""
        collector, progress = self._collector, replace(self._collector.progress)
        indices = range(progress.next_index, max(admitted, progress.end))
        return Lacking(tuple(index for index in indices if collector.lacks(index)), progress, self._counters())

    def checkpointed(self) -> None:
        """Acknowledge what was consumed: a checkpoint holds it now.

        What cannot be acknowledged, as Redis is away, a later process acknowledges at its start.
        """
        progress = self._collector.progress
        self._checkpointed = progress.consumed
        ahead = self._ahead.stop()
        if self.trouble is None:
            with self._or_later():
                self._report_progress()
                self._acknowledge([index for index in self._unacknowledged if progress.holds(index)])
                self._decisions.forget()
                self._take_in(ahead)  # now: what is decided on these groups, the checkpoint does not hold

    def _await_groups(self) -> Sequence[TrajectoryGroup] | None:
        end = self._streams.deadline(self._deadline)
        while True:
            groups = self._collector.take()
            with self._or_later():  # the groups that are here are not to be given up
                self._settle()
            if groups is not None:
                self._arrivals = Arrivals(kept=self._collector.waiting)
                return groups
            if self._interrupted.is_set() or self.trouble is not None:
                return None
            self._check_use()
            if end.passed:
                raise StepDeadlineError(self._why_late())
            self._take_in(self._read(_POLL_SECONDS))

    def _read(self, wait: float = 0.0) -> Sequence[tuple[Delivery, TrajectoryGroup]]:
        return list(self._consumer.decode(TrajectoryGroup, self._consumer.read(_READ_COUNT, wait)))

    def _take_in(self, arrived: Sequence[tuple[Delivery, TrajectoryGroup]]) -> None:
        for delivery, group in arrived:
            index = group.prompt.index
            if self._collector.offer(group):
                self._unacknowledged[index] = delivery.id
                self._arrivals.keep()
            elif self._unacknowledged.get(index) != delivery.id:
                self._consumer.acknowledge([delivery.id])
        with self._or_later():
            self._settle()

    def _settle(self) -> None:
        """Make durable what became of groups, and let those go that were discarded."""
        discarded = self._collector.take_discarded()
        self._arrivals.discard(discarded)
        if discarded and self._decisions.record(discarded):
            self._acknowledge([one.index for one in discarded])
        self._report_progress()

    def _acknowledge(self, indices: Collection[int]) -> None:
        self._consumer.acknowledge([self._unacknowledged[index] for index in indices])
        for index in indices:
            del self._unacknowledged[index]

    @contextmanager
    def _or_later(self) -> Iterator[None]:
        """Leave what needs Redis to a later process where Redis cannot be used."""
        try:
            yield
        except _Interrupted:
            return
        except StreamError as error:
            self.trouble = error

    def _end_wait_if_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise _Interrupted

    def _check_use(self) -> None:
        """Raise StepLostError where what comes for a step is of no use."""
        step, arrivals = self._collector.progress.version + 1, self._arrivals
        reason = arrivals.only_reason()
        enough = max(_LOST_ENOUGH, self._collector.groups_per_step)
        if reason is not None and arrivals.lost >= enough:
            raise StepLostError(f"learner step {step}: all its groups are lost, for one reason: {reason}")
        if 0 < self._max_discarded < arrivals.discarded:
            raise StepLostError(
                f"learner step {step}: {arrivals.describe()}; that is more than {self._max_discarded} without use "
                "(admission.max_discarded times learner.groups_per_step): train on tasks that the model solves "
                "sometimes, set learner.zero_variance_groups: skip, or raise the limit"
            )

    def _why_late(self) -> str:
        progress = self._collector.progress
        missing = next(filter(self._collector.lacks, count(progress.next_index)))
        return (
            f"learner step {progress.version + 1} waited {self._deadline:.0f} s (deadlines.step_seconds) for "
            f"{self._collector.groups_per_step} groups; {self._arrivals.describe()}; the rollout or reward of "
            f"group {missing} never came"
        )

    def _report_progress(self) -> None:
        """Tell the orchestrator; where the server has no memory for it, that is told later.

        This process acknowledges what frees memory.
        """
        self._streams.report(self._counters())

    def _counters(self) -> dict[str, int]:
        progress = self._collector.progress
        return {
            "trained": progress.trained,
            "filtered": progress.filtered,
            "dropped": progress.dropped,
            "late": self._collector.late(),
            "discarded_before": self._collector.discarded_before_missing(),
            CHECKPOINTED: self._checkpointed,
        }
