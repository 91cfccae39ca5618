"""The heartbeat of an actor: what it does, since when it has made no progress, and notes for the user.

An actor owns one :class:`Heartbeat`, which all of its threads may use, and answers ``heartbeat()`` with
:meth:`Heartbeat.beat` while its other methods work (:mod:`common.actors`). The driver polls it, and alone decides
who is late.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.reasons import is_power_of_ten

#: Environment variable: a file that appears when this process' pod is about to go (a preStop hook of the chart).
LEAVING = "COUPLET_LEAVING"
#: Different lines that an actor may leave; of those beyond, the user learns that there are some.
_MOST_LINES = 50


@dataclass(frozen=True)
class Beat:
    """What an actor says of itself: process ``pid`` on ``node`` (Ray's id; empty where there is no Ray).

    It has done ``what`` without progress for ``seconds``, or ``waits`` for it; longer than ``limit`` seconds is
    late. Waits have no limit as a rule, as others have to come up with what is waited for. ``notes`` are lines for
    the user, left since the last beat, and ``measures`` are what it has measured last, by name. ``leaving``: its
    pod is about to be taken away, and waits for what has to be saved.
    """

    pid: int
    node: str
    what: str
    seconds: float
    limit: float
    waits: bool
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    leaving: bool = False

    @property
    def late(self) -> bool:
        """Whether it has made no progress for longer than what it does may take."""
        return self.seconds > self.limit


@dataclass
class _Activity:
    """Something that a thread of an actor does, or waits for, without progress since a moment of its clock."""

    what: str
    limit: float
    waits: bool
    since: float
    thread: int = field(default_factory=threading.get_ident)


class Heartbeat:
    """Record the progress of an actor. Thread-safe.

    An actor has one main activity, and some more beside it for a time (:meth:`during`); the one that is closest to
    its limit, or furthest beyond, is what a beat tells of.

    ``limit``: seconds that an activity may take without progress, unless it is given another; ``node``: Ray's id
    of the node.
    """

    def __init__(self, limit: float, node: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._node = node
        self._usual_limit = limit
        self._main = _Activity("its first call", math.inf, waits=True, since=clock())
        self._beside: list[_Activity] = []
        self._told: Counter[str] = Counter()
        self._new: list[str] = []
        self._measures: dict[str, float] = {}

    def doing(self, what: str, limit: float | None = None) -> None:
        """Name what the actor does from now on, which may take ``limit`` seconds without progress."""
        self._set(what, self._usual_limit if limit is None else limit, waits=False)

    def waiting(self, what: str, limit: float = math.inf) -> None:
        """Name what the actor waits for from now on: others have to come up with it, so it is not late.

        A wait that has a deadline of its own hangs where it is longer than ``limit`` seconds all the same.
        """
        self._set(what, limit, waits=True)

    def held_up(self, what: str) -> None:
        """Name what the actor waits for, if the calling thread is that of its main activity.

        What another thread does goes on meanwhile, and is late when it stands still.
        """
        if self._main.thread == threading.get_ident():
            self.waiting(what)

    def progress(self) -> None:
        """Count progress in what the actor does."""
        with self._lock:
            self._main.since = self._clock()

    @contextmanager
    def during(self, what: str, limit: float | None = None) -> Iterator[None]:
        """Name what another thread does within the context, beside the main activity, for ``limit`` seconds."""
        limit = self._usual_limit if limit is None else limit
        activity = _Activity(what, limit, waits=False, since=self._clock())
        with self._lock:
            self._beside.append(activity)
        try:
            yield
        finally:
            with self._lock:
                self._beside.remove(activity)

    def note(self, line: str) -> None:
        """Leave a line for the user. A line that was left before is shown again at its 10th, 100th, ... time."""
        with self._lock:
            if line not in self._told and len(self._told) > _MOST_LINES:
                return
            if line not in self._told and len(self._told) == _MOST_LINES:
                line = f"further notes of process {os.getpid()} are not shown"
            self._told[line] += 1
            count = self._told[line]
            if count == 1:
                self._new.append(line)
            elif is_power_of_ten(count):
                self._new.append(f"{line} ({count} times so far)")

    def measure(self, name: str, value: float) -> None:
        """Keep what the actor has measured last under a name."""
        with self._lock:
            self._measures[name] = value

    def beat(self) -> Beat:
        """Return the state of the actor, and the notes since the last call."""
        leaving = os.path.exists(os.environ.get(LEAVING, ""))
        with self._lock:
            notes, self._new = tuple(self._new), []
            now = self._clock()
            one = min([self._main, *self._beside], key=lambda a: a.limit - (now - a.since))
            return Beat(
                os.getpid(),
                self._node,
                one.what,
                now - one.since,
                one.limit,
                one.waits,
                notes,
                dict(self._measures),
                leaving,
            )

    def _set(self, what: str, limit: float, waits: bool) -> None:
        with self._lock:
            self._main = _Activity(what, limit, waits, self._clock())
