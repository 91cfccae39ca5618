"""Show a run in the terminal: on a live screen, or in plain lines where there is none.

Completions and notes are never read as markup, and :func:`orchestrator.report.text.clean` takes the control
characters out of them, so a model cannot steer the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console

from orchestrator.report.display_content import REINFORCEMENT, DisplayContent, Metrics

Clock = Callable[[], float]
Families = Mapping[str, Sequence[float]]


class Display:
    """Takes the progress of a run and shows nothing; the base of the displays. Calls may come in any order.

    ``content`` says what there is to show of the run's kind.
    """

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, content: DisplayContent = REINFORCEMENT
    ) -> None:
        self._console, self._clock, self._started = console, clock, clock()
        self._content = content
        self._step, self._total = 0, 0
        self._ends: list[tuple[int, float]] = []

    def phase(self, name: str) -> None:
        """Show that a phase began, such as ``train``."""

    def step(self, step: int, total: int, metrics: Metrics) -> None:
        """Show a learner step that ended. Any metric may be missing."""
        self._step, self._total = step, total
        self._ends = [*self._ends[-20:], (step, self._clock())]

    def evaluation(self, step: int, metrics: Metrics, by_family: Families | None = None) -> None:
        """Show an evaluation on held-out data that ended; ``by_family`` holds (passed, total) of tasks."""

    def places(self, places: Mapping[str, str]) -> None:
        """Show where to look while the run goes: addresses, files and commands, by what is there."""

    def note(self, message: str) -> None:
        """Show something that the user should know, such as a restart."""

    def close(self) -> None:
        """End the display. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _elapsed(self) -> str:
        return duration(self._clock() - self._started)

    def _eta(self) -> str:
        """Return the time left at the pace of the last twenty steps."""
        (first, began), (last, ended) = (self._ends[0], self._ends[-1]) if self._ends else ((0, 0.0), (0, 0.0))
        if last <= first:
            return "?"
        left = (ended - began) / (last - first) * (self._total - last)
        return duration(max(0.0, left - (self._clock() - ended)))


def duration(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
