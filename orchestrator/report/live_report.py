"""Renew the report of a run while it goes, at a cost that the run does not feel."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orchestrator.report.recorded_run import RunReader
from orchestrator.report.report_page import write_report_of

_EVERY_SECONDS = 60.0
#: More are not told apart in a chart; the report at the end of a run has them all.
_MOST_STEPS = 1000
#: Of a run's time, at most; a report of a long run takes longer to write.
_SHARE = 0.01


class LiveReport:
    """Rewrites ``report.html`` of a run folder, at most once a minute and after every evaluation.

    A page that cannot be written is no reason to end a run: :meth:`refresh` tries again at the next change.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[Path], Path] | None = None,
    ) -> None:
        self._folder, self._clock, self._write = folder, clock, write or _writer(folder)
        self._is_stale = False
        self._due = clock()

    def step_ended(self) -> None:
        """Note that there is a new learner step to show."""
        self._is_stale = True

    def evaluation_ended(self) -> None:
        """Note that there is a new evaluation, to be shown at the next call of :meth:`refresh`."""
        self._is_stale = True
        self._due = self._clock()

    def refresh(self) -> None:
        """Write the report if something is new and enough time has passed. Called often."""
        began = self._clock()
        if not self._is_stale or began < self._due:
            return
        self._is_stale = False
        with suppress(OSError):
            self._write(self._folder)
        ended = self._clock()
        self._due = ended + max(_EVERY_SECONDS, (ended - began) / _SHARE)


def _writer(folder: Path) -> Callable[[Path], Path]:
    """Return what writes the page of a run, and reads each time only what is new."""
    reader = RunReader(folder, _MOST_STEPS)
    return lambda folder: write_report_of(reader.read(), folder / "report.html")
