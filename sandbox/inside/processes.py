"""The processes of one run, as the relay follows them: when they ended, what they used, how they are killed."""

from __future__ import annotations

import os
import select
import signal
from typing import Protocol

from sandbox.inside import kernel, protocol
from sandbox.inside.fork_server import ServedFork

_DEATH_S = 5.0
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
    """The tests of a split judge, a child of this process, which report; and the solution, a fork of a server."""

    def __init__(self, tests: int, solution: ServedFork) -> None:
        self._tests, self._solution = tests, solution
        self._reaped_cpu = 0.0
        self._ended = False
        self.death = os.pidfd_open(tests)
        self.peak_kb = 0

    def began(self, pid: int) -> None:
        """Ignore the id, which is another in the namespace of the tests."""

    def cpu(self) -> float:
        self._solution.hear_id()
        tests = self._reaped_cpu if self._ended else kernel.process_cpu_s(self._tests)
        return tests + self._solution.cpu()

    def alive(self) -> bool:
        return not self._ended

    def end(self, broken: bool) -> int:
        """Kill what still runs; of a solution that ended first the exit code decides."""
        left_alone = not broken and _exited(self._tests, protocol.GONE_EXIT)
        os.kill(self._tests, signal.SIGKILL)
        if not select.select([self.death], [], [], _DEATH_S)[0]:
            os._exit(1)
        os.close(self.death)
        _, status, usage = os.wait4(self._tests, 0)
        self._ended = True
        self._reaped_cpu = usage.ru_utime + usage.ru_stime
        # The solution ends by itself once nobody asks it anything.
        closing = _CLOSING_S if left_alone else _LEAVING_S
        over = not broken and self._solution.ends_within(closing)
        own_end = self._solution.end(broken=not over)
        self.peak_kb = max(usage.ru_maxrss, self._solution.peak_kb)
        return own_end if left_alone and over else os.waitstatus_to_exitcode(status)


def _exited(pid: int, code: int) -> bool:
    """Return whether a process exited by itself with that code; it stays to be reaped."""
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return info is not None and info.si_code == os.CLD_EXITED and info.si_status == code
