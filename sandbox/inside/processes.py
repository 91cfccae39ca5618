"""The processes of one run, as the relay follows them: when they ended, what they used, how they are killed."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Protocol

from sandbox.inside import kernel, protocol

_DEATH_S = 5.0
_CLOSING_S = 1.0
_CLOSING_STEP_S = 0.002


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


class Children:
    """A child of this process, or two of a split judge: the tests, which report, and the solution."""

    def __init__(self, pid: int, solution: int | None = None) -> None:
        self._pid, self._solution = pid, solution
        self._alive = [pid] if solution is None else [pid, solution]
        self._reaped_cpu = 0.0
        self.death = os.pidfd_open(pid)
        self.peak_kb = 0

    def began(self, pid: int) -> None:
        """Ignore the id, which may be another in the namespace of the tests."""

    def cpu(self) -> float:
        return self._reaped_cpu + sum(map(kernel.process_cpu_s, self._alive))

    def alive(self) -> bool:
        return bool(self._alive)

    def end(self, broken: bool) -> int:
        """Kill what still runs; of a solution that ended first the exit code decides."""
        own_end = None
        if self._solution is not None and not broken and _exited(self._pid, protocol.GONE_EXIT):
            own_end = self._reap_soon(self._solution)
        for each in self._alive:
            os.kill(each, signal.SIGKILL)
        if not select.select([self.death], [], [], _DEATH_S)[0]:
            os._exit(1)
        os.close(self.death)
        status = None
        for each in list(self._alive):
            code = self._reap(each)
            status = code if each == self._pid else status
        assert status is not None
        return status if own_end is None else own_end

    def _reap(self, pid: int, flags: int = 0) -> int | None:
        """Wait for a process and return its exit code, negative for a signal; None when WNOHANG finds it alive."""
        waited, status, usage = os.wait4(pid, flags)
        if not waited:
            return None
        self._alive.remove(pid)
        self._reaped_cpu += usage.ru_utime + usage.ru_stime
        self.peak_kb = max(self.peak_kb, usage.ru_maxrss)
        return os.waitstatus_to_exitcode(status)

    def _reap_soon(self, pid: int) -> int | None:
        """Wait a moment for the exit code of a process that closed its socket; None when it does not end."""
        deadline = time.monotonic() + _CLOSING_S
        while (code := self._reap(pid, os.WNOHANG)) is None and time.monotonic() < deadline:
            time.sleep(_CLOSING_STEP_S)
        return code


def _exited(pid: int, code: int) -> bool:
    """Return whether a process exited by itself with that code; it stays to be reaped."""
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return info is not None and info.si_code == os.CLD_EXITED and info.si_status == code
