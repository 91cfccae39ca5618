"""The budget of a program: what all tests of one completion may take together, beside the limits of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sandbox.types import Budget, CaseRun, Limits

#: Seconds for each second that the task's reference takes, beyond those that every program has.
_PER_REFERENCE_SECOND = 10.0
#: Bytes for each that the reference gives, and the least, in results of the largest size.
_PER_REFERENCE_BYTE = 4
_LARGEST_RESULTS = 4
#: Results of the largest size that a reference may give: tasks of public sets give 1,000 texts of up to 7 MB.
_REFERENCE_RESULTS = 16
#: The part of a deadline that is shared out: starting programs takes time as well.
_SHARED_OUT = 0.8


@dataclass(frozen=True)
class Cost:
    """What all tests of a task took of its reference: seconds of CPU and of wall time, and bytes of results."""

    cpu_s: float
    wall_s: float
    result_bytes: int

    @classmethod
    def of(cls, runs: Sequence[CaseRun]) -> Self:
        """Add up the runs of a reference."""
        return cls(
            sum(run.cpu_s for run in runs),
            sum(run.wall_s for run in runs),
            sum(len(run.stdout) + len(run.value or b"") for run in runs),
        )


@dataclass(frozen=True)
class BudgetRule:
    """How much a program may use. ``limits``: of each test. ``timeouts``: tests that may run out of time.

    ``seconds``: CPU seconds that a program has, whatever the reference takes.
    """

    limits: Limits
    timeouts: int
    seconds: float

    def asks_cost(self, tests: int) -> bool:
        """Tell whether what a reference takes is needed: so many tests may take longer than is granted unasked."""
        return tests * self.limits.cpu_s > self.seconds

    def of_program(self, cost: Cost | None, expected_bytes: int, share_s: float) -> Budget:
        """Return what a program may use of a slot.

        ``cost``: what the reference took; None where that is not known, and then time alone is shared out.
        ``share_s``: wall-clock seconds that are there for each program, so that none takes those of another.
        """
        least = self.limits.cpu_s
        cpu_s = wall_s = math.inf
        if cost is not None:
            cpu_s = self.seconds + _PER_REFERENCE_SECOND * cost.cpu_s
            wall_s = cpu_s * self.limits.wall_s / self.limits.cpu_s + _PER_REFERENCE_SECOND * cost.wall_s
            # A task that is too heavy for its deadline is late, which is no fault of its programs.
            least = max(least, 2 * cost.wall_s)
        expected_bytes = max(expected_bytes, 0 if cost is None else cost.result_bytes)
        return Budget(
            timeouts=self.timeouts,
            cpu_s=cpu_s,
            wall_s=min(wall_s, max(share_s, least)),
            kept_bytes=max(_PER_REFERENCE_BYTE * expected_bytes, _LARGEST_RESULTS * self.limits.out_bytes),
        )

    def of_reference(self, deadline_s: float) -> Budget:
        """Return what a reference may use of a group's deadline; the rest of it is for the completions."""
        kept = _REFERENCE_RESULTS * self.limits.out_bytes
        return Budget(timeouts=self.timeouts, wall_s=deadline_s / 2, kept_bytes=kept)


def share(seconds: float, programs: int, slots: int) -> float:
    """Divide the seconds of ``slots`` slots among programs, so that all of them come to an end in time."""
    return _SHARED_OUT * seconds / math.ceil(max(programs, 1) / slots)
