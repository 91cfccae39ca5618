"""A task as scoring sees it: what is computed once for all the completions of a group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from common.records import Task, Verdict
from reward_service.results import Reports, TestReport


@dataclass(frozen=True)
class PreparedTask:
    """A task with what scoring its completions needs to know of it, computed once per group.

    ``reference``: the program that says what tests expect, None where the task itself says all of it.
    ``first_counted``: index of the first test that counts in the reward. ``digest``: a hash of everything that
    decides the verdicts on a program but its source.
    """

    task: Task
    reference: str | None
    first_counted: int
    digest: bytes

    def key(self, source: str) -> bytes:
        """Hash a program together with everything that decides the verdicts on it."""
        lines = source.replace("\r\n", "\n").replace("\r", "\n")  # Python reads all three line ends alike
        return hashlib.sha256(self.digest + lines.encode("utf-8", "surrogatepass")).digest()

    def same_report(self, verdict: Verdict, note: str) -> Reports:
        """Report the same of every test."""
        return (TestReport(verdict, note),) * len(self.task.tests)
