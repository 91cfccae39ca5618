"""What scoring finds out about a completion, from the report on a test to its reward."""

from __future__ import annotations

from dataclasses import dataclass

from common.records import Score, Verdict
from reward_service.rewards import JudgedCompletion


@dataclass(frozen=True)
class TestReport:
    """The verdict on one test; ``note`` says why it did not pass, in the program's own words at times."""

    __test__ = False  # not a pytest class

    verdict: Verdict
    note: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0


Reports = tuple[TestReport, ...]


@dataclass(frozen=True)
class Scored:
    """A completion's score, the program that was found in it, and a report for each test of the task."""

    score: Score
    program: str | None
    tests: Reports


@dataclass(frozen=True)
class Judged:
    """A completion whose tests ran, and a report for each of them: all that its reward follows from."""

    completion: JudgedCompletion
    tests: Reports
