"""How far an evaluation is, while it runs: completions, forward passes and scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.samples import Sample

_EVERY_S = 30.0
_COLUMNS = (
    TextColumn("{task.description:10}"),
    BarColumn(bar_width=24),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[note]}"),
)


class ShownProgress:
    """Two bars over all ``total`` samples of an evaluation: of those that are complete, and that are scored.

    Where they cannot be drawn, as in a file, a line every half a minute says the same.
    """

    def __init__(self, bars: Progress, total: int) -> None:
        self._bars = bars
        self._total = total
        self._completing = bars.add_task("completing", total=total, note="")
        self._scoring = bars.add_task("scoring", total=total, note="")
        self._completed = self._scored = self._forwards = 0
        self._verdicts: list[bool] = []
        self._told = time.monotonic()

    def begin(self, benchmark: str, cell: str, completed: int, scored: int) -> None:
        """Say what is evaluated now, and count what was done of it before."""
        before = f" ({scored} done before)" if scored else ""
        self._bars.console.print(f"{benchmark}: {cell}{before}", markup=False, highlight=False)
        self._completed += completed
        self._scored += scored
        self._show()

    def stepped(self, finished: int) -> None:
        """Count a forward pass, and the completions that it finished."""
        self._forwards += 1
        self._completed += finished
        self._show()

    def scored(self, samples: Sequence[Sample]) -> None:
        """Count samples that are scored and kept."""
        self._scored += len(samples)
        self._verdicts += [one.passed for one in samples]
        self._show()

    def _show(self) -> None:
        passed = f"{sum(self._verdicts) / len(self._verdicts):.1%} passed" if self._verdicts else ""
        passes = f"{self._forwards} passes"
        self._bars.update(self._completing, completed=self._completed, note=passes)
        self._bars.update(self._scoring, completed=self._scored, note=passed)
        now = time.monotonic()
        if not self._bars.console.is_terminal and now - self._told > _EVERY_S:
            self._told = now
            line = f"{self._completed} of {self._total} complete in {passes}, {self._scored} scored {passed}"
            self._bars.console.print(line.rstrip(), highlight=False)


@contextmanager
def shown_progress(total: int) -> Iterator[ShownProgress]:
    """Draw the progress of ``total`` samples on standard error."""
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bars:
        yield ShownProgress(bars, total)
