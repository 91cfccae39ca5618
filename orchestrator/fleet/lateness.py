"""Who is late, by the heartbeats of one actor. No Ray in here; the clock is injected."""

from __future__ import annotations

from collections.abc import Callable

from common.heartbeat import Beat


class Lateness:
    """Decide whether an actor is late: it has not answered for ``silence`` seconds, or makes no progress.

    Time in which nobody looked for an answer counts little: a driver that was busy, or stopped itself, blames
    nobody. An actor that has not answered yet is starting, and not late.
    """

    def __init__(self, silence: float, clock: Callable[[], float]) -> None:
        self._allowed = silence
        self._clock = clock
        self._looked = clock()
        self._silent = 0.0
        self._last: Beat | None = None

    @property
    def last(self) -> Beat | None:
        """The last answer, None before the first."""
        return self._last

    def asked(self) -> None:
        """Record that the actor is asked from now on."""
        self._looked, self._silent = self._clock(), 0.0

    def unanswered(self) -> None:
        """Record that no answer has come yet."""
        now = self._clock()
        self._silent += min(now - self._looked, self._allowed / 4)
        self._looked = now

    def answered(self, beat: Beat) -> None:
        """Record an answer."""
        self._last, self._silent = beat, 0.0

    def reason(self) -> str | None:
        """Say why the actor is late; None where it is not."""
        beat = self._last
        if beat is None:
            return None
        doing = f"{'waiting for' if beat.waits else 'while'} {beat.what}"
        if self._silent > self._allowed:
            return f"no answer for {self._silent:.0f} s (deadlines.heartbeat_seconds); last {doing}"
        if beat.late:
            return f"no progress for {beat.seconds:.0f} s {doing}, which may take {beat.limit:.0f} s"
        return None
