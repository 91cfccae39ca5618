"""A process of the modelled pipeline: it works on several jobs at once, the slower the more they are. Pure."""

from __future__ import annotations

import heapq


class Station:
    """Work on up to ``slots`` jobs at once.

    A job of work 1 takes ``fixed + jobs * each`` seconds while ``jobs`` jobs are worked on together, as the rows
    of a batch do: a forward pass has a part that all rows share, and a part that every row adds. ``epoch`` is for
    the owner of the clock, who counts in it which of its announcements still holds.
    """

    def __init__(self, slots: int, fixed: float, each: float) -> None:
        self.slots = slots
        self.busy_seconds = 0.0
        self.epoch = 0
        self._fixed = fixed
        self._each = each
        self._jobs: list[tuple[float, int]] = []
        self._done = 0.0
        self._now = 0.0
        self._held_until = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs are under way."""
        return len(self._jobs)

    def begin(self, job: int, work: float) -> None:
        """Begin a job at the time of the last :meth:`advance`."""
        heapq.heappush(self._jobs, (self._done + work, job))

    def hold(self, seconds: float) -> None:
        """Let all jobs rest for a while, as when new weights are loaded between two denoising steps."""
        self._held_until = max(self._held_until, self._now) + seconds

    def advance(self, now: float, speed: float) -> None:
        """Work until ``now`` at a ``speed`` of at most 1, the share of its cores that the process gets."""
        start = max(self._now, min(self._held_until, now))
        if self._jobs:
            self._done += (now - start) * speed / self._seconds_each()
            self.busy_seconds += now - self._now
        self._now = now

    def next_end(self, speed: float) -> float:
        """Return when the first of the jobs ends if nothing changes."""
        left = max(0.0, self._jobs[0][0] - self._done)
        return max(self._now, self._held_until) + left * self._seconds_each() / speed

    def end(self) -> int:
        """End the job that is due, and return it."""
        due, job = heapq.heappop(self._jobs)
        self._done = max(self._done, due)
        return job

    def _seconds_each(self) -> float:
        return max(self._fixed + len(self._jobs) * self._each, 1e-9)
