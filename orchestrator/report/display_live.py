"""A run on a live screen of the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.report.chart_numbers import labels, short, ticks
from orchestrator.report.charts import Point
from orchestrator.report.display import Clock, Display, Families
from orchestrator.report.display_content import (
    REINFORCEMENT,
    ChartContent,
    DisplayContent,
    Metrics,
    losses_by_ratio,
)
from orchestrator.report.terminal_chart import chart
from orchestrator.report.text import clean, one_line


class LiveDisplay(Display):
    """A screen that redraws itself four times a second and stays in the scrollback when it ends."""

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, content: DisplayContent = REINFORCEMENT
    ) -> None:
        super().__init__(console, clock, content)
        self._phase = "start"
        self._metrics: Metrics = {}
        self._held_out: Metrics = {}
        self._points: dict[str, list[Point]] = {key: [] for c in content.charts for key in (c.line, c.marks)}
        self._notes: list[str] = []
        self._live = Live(self, console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        self._live.stop()

    def phase(self, name: str) -> None:
        self._phase = clean(name)

    def step(self, step: int, total: int, metrics: Metrics) -> None:
        super().step(step, total, metrics)
        self._metrics = dict(metrics)
        self._keep(step, metrics)

    def evaluation(self, step: int, metrics: Metrics, by_family: Families | None = None) -> None:
        self._held_out = dict(metrics)
        self._keep(step, metrics)

    def places(self, places: Mapping[str, str]) -> None:
        for what, place in places.items():  # above the screen, whole: they are to be copied
            line = Text.assemble((f"{what}: ", "dim"), clean(place))
            self._console.print(line, soft_wrap=True, highlight=False)

    def note(self, message: str) -> None:
        self._notes.append(f"{self._elapsed()} {one_line(message, 3 * self._console.width)}")

    def __rich__(self) -> RenderableType:
        return Group(
            self._header(),
            self._charts(),
            self._numbers(),
            *self._losses(),
            *self._time_bar(),
            *self._last_notes(),
        )

    def _keep(self, step: int, metrics: Metrics) -> None:
        for key, points in self._points.items():
            if math.isfinite(metrics.get(key, math.nan)):
                points.append((float(step), float(metrics[key])))

    def _header(self) -> RenderableType:
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        title = Text.assemble(("couplet ", "bold cyan"), (self._phase, "bold"))
        bar = ProgressBar(total=max(self._total, 1), completed=self._step, complete_style="cyan")
        times = f"{self._step}/{self._total}  eta {self._eta()}" if self._total else ""
        head.add_row(title, bar, Text(f"{times}  {self._elapsed()}".strip()))
        return head

    def _charts(self) -> RenderableType:
        charts = Table.grid(padding=(0, 2, 0, 0))
        charts.add_row(*map(self._chart, self._content.charts))
        return charts

    def _chart(self, content: ChartContent) -> Text:
        width = (self._console.width - 2) // 2
        height = min(max(self._console.height - 14, 4), 10)
        # The axis doubles as it fills, so a long run's curve is visible from its first steps on.
        end = 16.0
        while end < self._step:
            end *= 2
        extent = (0.0, max(min(end, float(self._total or end)), 1.0))
        line, marks = self._points[content.line], self._points[content.marks]
        if content.span is None:
            values = [y for _, y in (*line, *marks)] or [0.0, 1.0]
            scale = ticks(min(values), max(values))
            span, texts = (scale[0], scale[-1]), labels(scale)
        else:
            span, texts = content.span, [f"{end:.0%}" for end in content.span]
        title = content.title
        if marks:
            title += f"  ◆ held-out {content.write(marks[-1][1])}"
        return chart(title, line, marks, extent, span, (texts[0], texts[-1]), width, height)

    def _numbers(self) -> RenderableType:
        pairs = 4 if self._console.width >= 120 else 3
        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        for _ in range(pairs):
            table.add_column(style="dim", no_wrap=True, ratio=2)
            table.add_column(justify="right", no_wrap=True, ratio=1)
        cells = [Text(text) for f in self._content.figures for text in (f.name, f.value(self._metrics))]
        for i in range(0, len(cells), pairs * 2):
            table.add_row(*cells[i : i + pairs * 2])
        return table

    def _losses(self) -> list[RenderableType]:
        """Show the last held-out losses by ratio, where the run measures them."""
        losses = losses_by_ratio(self._held_out)
        text = "  ".join(f"t = {ratio}: {short(loss)}" for ratio, loss in losses.items())
        return [Text(f"held-out loss  {text}", "dim", no_wrap=True, overflow="ellipsis")] if losses else []

    def _time_bar(self) -> list[RenderableType]:
        """Show where the last step's time went: a bar and its legend. Empty before the first step."""
        seconds = {name: self._metrics.get(f"seconds/{name}", 0.0) for name, _ in self._content.times}
        parts = [(name, colour) for name, colour in self._content.times if 0 < seconds[name] < math.inf]
        total = sum(seconds[name] for name, _ in parts)
        bar, legend = Table.grid(expand=True), Text(no_wrap=True, overflow="ellipsis")
        for name, colour in parts:
            bar.add_column(ratio=max(1, round(seconds[name] / total * 1000)))
            words = name.replace("_", " and ")
            legend.append("■ ", colour).append(f"{words} {seconds[name]:.1f}s  ", "dim")
        bar.add_row(*(Text("━" * 400, colour, no_wrap=True, overflow="crop") for _, colour in parts))
        return [bar, legend] if parts else []

    def _last_notes(self) -> list[RenderableType]:
        return [Text(f"! {note}", "yellow", overflow="fold") for note in self._notes[-3:]]
