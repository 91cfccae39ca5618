"""Ending a step that still waits for its groups: on all ranks at once, and as if it had not begun."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

from common.records import TrajectoryGroup
from learner.collector import Collector, Progress

Share = Callable[[Sequence[TrajectoryGroup] | None], Sequence[TrajectoryGroup]]


class StepInterruptedError(RuntimeError):
    """The step was ended before it trained anything."""


@dataclass
class InterruptibleCollector(Collector):
    """Once ``interrupted`` is set, a step that lacks groups is given none, and none are counted for it."""

    interrupted: threading.Event = field(default_factory=threading.Event)
    _before: Progress = field(default_factory=Progress)

    def take(self) -> Sequence[TrajectoryGroup] | None:
        if not self._taken:
            self._before = replace(self.progress)
        groups = super().take()
        if groups is not None or not self.interrupted.is_set():
            return groups
        for count in fields(Progress):
            setattr(self.progress, count.name, getattr(self._before, count.name))
        return []


def or_interrupted(share: Share) -> Share:
    """``share``, but what it shares of an interrupted step is a :class:`StepInterruptedError` on every rank."""

    def shared(groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup]:
        found = share(groups)
        if not found:
            raise StepInterruptedError("the step was ended while it waited for its groups")
        return found

    return shared
