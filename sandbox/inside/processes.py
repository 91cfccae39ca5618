"""The processes of one run, as the relay follows them: when they ended, what they used, how they are killed."""

from __future__ import annotations

from typing import Protocol

from sandbox.inside import protocol
from sandbox.inside.fork_server import ServedFork

_CLOSING_S = 1.0
_LEAVING_S = 0.05


class Followed(Protocol):
    """``death``: a descriptor that is readable once the process that reports has ended."""

    death: int
    peak_kb: int

    def began(self, pid: int) -> None:
        """Hear from the process that reports, before anything hostile runs in it, what its id is."""
        ...

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        ...

    def alive(self) -> bool:
        """Return whether one may still write."""
        ...

    def end(self, broken: bool) -> int:
        """Kill what still runs and wait for it. Return the exit code that decides, negative for a signal.

        ``broken``: whether a limit was.
        """
        ...


class SplitJudge:
    """The tests of a split judge, which report, and the solution: forks of servers that tell their ids."""

    def __init__(self, tests: ServedFork, solution: ServedFork) -> None:
        tests.hear_id_soon()
        self._tests, self._solution = tests, solution
        self.death = tests.death
        self.peak_kb = 0

    def began(self, pid: int) -> None:
        """Ignore the id, which is another in the namespace of the tests."""

    def cpu(self) -> float:
        self._solution.hear_id()
        return self._tests.cpu() + self._solution.cpu()

    def alive(self) -> bool:
        return self._tests.alive()

    def end(self, broken: bool) -> int:
        """Kill what still runs; of a solution that ended first the exit code decides."""
        status = self._tests.end(broken)
        left_alone = not broken and status == protocol.GONE_EXIT
        # The solution ends by itself once nobody asks it anything.
        over = not broken and self._solution.ends_within(_CLOSING_S if left_alone else _LEAVING_S)
        own_end = self._solution.end(broken=not over)
        self.peak_kb = max(self._tests.peak_kb, self._solution.peak_kb)
        return own_end if left_alone and over else status
