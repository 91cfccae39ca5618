"""The driver's watch over one actor: it asks for heartbeats without waiting for them, and collects the notes."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from common.heartbeat import Beat
from orchestrator.fleet.lateness import Lateness

#: Seconds between an answer and the next question.
_PERIOD_SECONDS = 1.0


class ActorWatch:
    """Watch the actor behind ``handle``, which is late when it does not answer for ``silence`` seconds."""

    def __init__(self, handle: Any, silence: float) -> None:
        self._handle = handle
        self._lateness = Lateness(silence, time.monotonic)
        self._question: Any = None
        self._due = 0.0
        self._notes: list[str] = []

    @property
    def last(self) -> Beat | None:
        """The last answer, None before the first."""
        return self._lateness.last

    def poll(self) -> str | None:
        """Take in an answer, or ask; return why the actor is late, None where it is not. Never waits."""
        if self._question is None:
            if time.monotonic() >= self._due:
                self._question = self._handle.heartbeat.remote()
                self._lateness.asked()
        elif ray.wait([self._question], timeout=0)[0]:
            self._take_in()
        else:
            self._lateness.unanswered()
        return self._lateness.reason()

    def notes(self) -> list[str]:
        """Return the lines that the actor has left for the user since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _take_in(self) -> None:
        question, self._question = self._question, None
        self._due = time.monotonic() + _PERIOD_SECONDS
        try:
            beat: Beat = ray.get(question, timeout=1.0)
        except (RayError, GetTimeoutError):
            return  # it has died, which the calls that are its work tell, and why
        self._lateness.answered(beat)
        self._notes += beat.notes
