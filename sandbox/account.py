"""The account of one program: what it has used of what all its cases may take together."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.inside import protocol
from sandbox.types import Budget, CaseRun, Outcome


class Account:
    """What one program has used of its budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._timeouts = 0
        self._cpu_s = self._wall_s = 0.0
        self._kept = 0
        self._why = ""

    def left(self) -> tuple[float, float, int]:
        """Return the seconds of CPU and of wall time, and the bytes, that the next fork may use."""
        whole = self._budget
        return whole.cpu_s - self._cpu_s, whole.wall_s - self._wall_s, whole.kept_bytes - self._kept

    def charge(self, runs: Sequence[CaseRun], end: protocol.End) -> None:
        """Take off what one fork used, and what it made the host hold."""
        setup_cpu, setup_wall = end.marks[0] if end.marks else (0.0, 0.0)
        self._cpu_s += end.cpu - setup_cpu
        self._wall_s += end.wall - setup_wall
        self._kept += sum(len(run.stdout) + len(run.stderr) + len(run.value or b"") for run in runs)
        # A program that never came to its first case ran out of time once, whatever cases waited for it.
        self._timeouts += any(run.outcome is Outcome.TIMEOUT for run in runs)
        self._why = end.why

    def charge_lost(self, wall_s: float) -> None:
        """Take off the seconds of a fork that took its slot with it."""
        self._wall_s += wall_s

    def exhausted(self) -> tuple[Outcome, str] | None:
        """Return how the cases end that have not been run, and why; None while more may be run."""
        cpu_s, wall_s, kept = self.left()
        whole = self._budget
        if self._why == protocol.BUDGET_BYTES or kept <= 0:
            return Outcome.OUTPUT, f"more than {whole.kept_bytes} bytes in all tests together"
        if self._why == protocol.BUDGET_TIME or cpu_s <= 0 or wall_s <= 0:
            return Outcome.TIMEOUT, time_note(whole)
        if self._timeouts >= whole.timeouts:
            return Outcome.TIMEOUT, f"not run: {self._timeouts} tests before it ran out of time"
        return None


def time_note(budget: Budget) -> str:
    """Say what a program ran out of that took too long over all its cases."""
    return f"more than {budget.cpu_s:g} s of CPU time or {budget.wall_s:g} s in all tests together"
