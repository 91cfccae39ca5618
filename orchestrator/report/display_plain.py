"""A run in plain lines, for logs and for terminals that cannot redraw."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from orchestrator.report.chart_numbers import short
from orchestrator.report.display import Display, Families
from orchestrator.report.display_content import Metrics, losses_by_ratio
from orchestrator.report.text import clean, one_line

#: A line for the user is one line; no more of what others have written is of use in it.
_NOTE_LENGTH = 1000


class PlainDisplay(Display):
    """One line per event, flushed; each fits the console's width."""

    def phase(self, name: str) -> None:
        self._line(name)

    def step(self, step: int, total: int, metrics: Metrics) -> None:
        super().step(step, total, metrics)
        parts = [f"step {step:>{len(str(total))}}/{total}", f"eta {self._eta()}"]
        room = self._console.width - len(self._elapsed()) - 4 - sum(len(part) + 2 for part in parts)
        for figure in self._content.figures:
            part = f"{figure.name} {figure.value(metrics):<5}"
            room -= len(part) + 2
            if room < 0:
                break
            parts.insert(-1, part)
        self._line("  ".join(parts))

    def evaluation(self, step: int, metrics: Metrics, by_family: Families | None = None) -> None:
        held_out = self._content.held_out
        self._line(f"{held_out.name} at step {step}: {held_out.value(metrics)}")
        for ratio, loss in losses_by_ratio(metrics).items():
            self._line(f"  t = {ratio}: {short(loss)}")
        for name, (passed, tasks) in sorted((by_family or {}).items()):
            self._line(f"  {name}: {passed:g} of {tasks:g}")

    def places(self, places: Mapping[str, str]) -> None:
        for what, place in places.items():
            self._line(f"{what}: {place}")

    def note(self, message: str) -> None:
        self._line(f"note: {one_line(message, _NOTE_LENGTH)}")

    def _line(self, text: str) -> None:
        line = Text(f"[{self._elapsed()}] {clean(text)}")
        self._console.print(line, soft_wrap=True, highlight=False)
        self._console.file.flush()
