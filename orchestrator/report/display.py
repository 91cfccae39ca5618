"""Show a run in the terminal: on a live screen, or in plain lines where there is none.

Completions and notes are never read as markup, and :func:`orchestrator.report.text.clean` takes the control
characters out of them, so a model cannot steer the terminal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.report.chart_numbers import labels, short, ticks
from orchestrator.report.charts import Point
from orchestrator.report.terminal_chart import chart
from orchestrator.report.text import clean

Clock = Callable[[], float]
Families = Mapping[str, Sequence[float]]
_NUMBERS = (
    ("reward", "reward/mean"),
    ("solved", "reward/solved"),
    ("tests passed", "reward/pass_rate"),
    ("KL", "policy/kl"),
    ("test reward", "reward/tests"),
    ("zero variance", "groups/zero_variance"),
    ("clipped tokens", "policy/clip_fraction"),
    ("format reward", "reward/format"),
    ("groups trained", "groups/trained"),
    ("gradient norm", "optim/grad_norm"),
    ("samples/s", "perf/samples_per_second"),
    ("staleness", "staleness/mean"),
    ("restarts", "restarts"),
)
_SHARES = frozenset({"reward/solved", "reward/pass_rate", "policy/clip_fraction"})
#: Parts of a learner step; waiting is for rollouts and their rewards.
_TIMES = (
    ("wait", "blue"),
    ("update", "green"),
    ("weights", "magenta"),
    ("checkpoint", "white"),
)


class Display:
    """Takes the progress of a run and shows nothing; the base of the displays. Calls may come in any order."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock, self._started = console, clock, clock()
        self._step, self._total = 0, 0
        self._ends: list[tuple[int, float]] = []

    def phase(self, name: str) -> None:
        """Show that a phase began, such as ``train``."""

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Show a learner step that ended. Any metric may be missing."""
        self._step, self._total = step, total
        self._ends = [*self._ends[-20:], (step, self._clock())]

    def evaluation(self, step: int, pass_rate: float, by_family: Families) -> None:
        """Show an evaluation on held-out tasks that ended; ``by_family`` holds (passed, total)."""

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


def open_display(console: Console, plain: bool, clock: Clock = time.monotonic) -> Display:
    """Return the live screen on a terminal that can show it, else plain lines."""
    can_draw = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return PlainDisplay(console, clock) if plain or not can_draw else LiveDisplay(console, clock)


class PlainDisplay(Display):
    """One line per event, flushed; each fits the console's width."""

    def phase(self, name: str) -> None:
        self._line(name)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        super().step(step, total, metrics)
        parts = [f"step {step:>{len(str(total))}}/{total}", f"eta {self._eta()}"]
        room = self._console.width - len(self._elapsed()) - 4 - sum(len(part) + 2 for part in parts)
        for name, key in _NUMBERS:
            part = f"{name} {_value(metrics, key):<5}"
            room -= len(part) + 2
            if room < 0:
                break
            parts.insert(-1, part)
        self._line("  ".join(parts))

    def evaluation(self, step: int, pass_rate: float, by_family: Families) -> None:
        self._line(f"held-out pass rate at step {step}: {pass_rate:.1%}")
        for name, (passed, tasks) in sorted(by_family.items()):
            self._line(f"  {name}: {passed:g} of {tasks:g}")

    def places(self, places: Mapping[str, str]) -> None:
        for what, place in places.items():
            self._line(f"{what}: {place}")

    def note(self, message: str) -> None:
        self._line(f"note: {message}")

    def _line(self, text: str) -> None:
        line = Text(f"[{self._elapsed()}] {clean(text)}")
        self._console.print(line, soft_wrap=True, highlight=False)
        self._console.file.flush()


class LiveDisplay(Display):
    """A screen that redraws itself four times a second and stays in the scrollback when it ends."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console, clock)
        self._phase = "start"
        self._metrics: Mapping[str, float] = {}
        self._rewards: list[Point] = []
        self._passing: list[Point] = []
        self._held_out: list[Point] = []
        self._notes: list[str] = []
        self._live = Live(self, console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        self._live.stop()

    def phase(self, name: str) -> None:
        self._phase = clean(name)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        super().step(step, total, metrics)
        self._metrics = dict(metrics)
        for points, key in ((self._rewards, "reward/mean"), (self._passing, "reward/solved")):
            if math.isfinite(metrics.get(key, math.nan)):
                points.append((float(step), float(metrics[key])))

    def evaluation(self, step: int, pass_rate: float, by_family: Families) -> None:
        self._held_out.append((float(step), pass_rate))

    def places(self, places: Mapping[str, str]) -> None:
        for what, place in places.items():  # above the screen, whole: they are to be copied
            line = Text.assemble((f"{what}: ", "dim"), clean(place))
            self._console.print(line, soft_wrap=True, highlight=False)

    def note(self, message: str) -> None:
        self._notes.append(f"{self._elapsed()} {clean(message)}")

    def __rich__(self) -> RenderableType:
        return Group(
            self._header(), self._charts(), self._numbers(), *_time_bar(self._metrics), *self._last_notes()
        )

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
        width = (self._console.width - 2) // 2
        height = min(max(self._console.height - 14, 4), 10)
        # The axis doubles as it fills, so a long run's curve is visible from its first steps on.
        end = 16.0
        while end < self._step:
            end *= 2
        extent = (0.0, max(min(end, float(self._total or end)), 1.0))
        values = [y for _, y in self._rewards] or [0.0, 1.0]
        scale = ticks(min(values), max(values))
        texts = labels(scale)
        charts = Table.grid(padding=(0, 2, 0, 0))
        reward = chart(
            "reward", self._rewards, [], extent, (scale[0], scale[-1]), (texts[0], texts[-1]), width, height
        )
        title = "samples passing" + (f"  ◆ held-out {self._held_out[-1][1]:.1%}" if self._held_out else "")
        passing = chart(title, self._passing, self._held_out, extent, (0, 1), ("0%", "100%"), width, height)
        charts.add_row(reward, passing)
        return charts

    def _numbers(self) -> RenderableType:
        pairs = 4 if self._console.width >= 120 else 3
        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        for _ in range(pairs):
            table.add_column(style="dim", no_wrap=True, ratio=2)
            table.add_column(justify="right", no_wrap=True, ratio=1)
        cells = [Text(text) for name, key in _NUMBERS for text in (name, _value(self._metrics, key))]
        for i in range(0, len(cells), pairs * 2):
            table.add_row(*cells[i : i + pairs * 2])
        return table

    def _last_notes(self) -> list[RenderableType]:
        return [Text(f"! {note}", "yellow", no_wrap=True, overflow="ellipsis") for note in self._notes[-3:]]


def duration(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _value(metrics: Mapping[str, float], key: str) -> str:
    value = metrics.get(key)
    if value is None:
        return "-"
    return f"{value:.1%}" if key in _SHARES else short(value)


def _time_bar(metrics: Mapping[str, float]) -> list[RenderableType]:
    """Show where the last step's time went: a bar and its legend. Empty before the first step."""
    parts = [(n, c, metrics[f"seconds/{n}"]) for n, c in _TIMES if 0 < metrics.get(f"seconds/{n}", 0.0) < math.inf]
    bar, legend = Table.grid(expand=True), Text(no_wrap=True, overflow="ellipsis")
    for name, colour, seconds in parts:
        bar.add_column(ratio=max(1, round(seconds / sum(p[2] for p in parts) * 1000)))
        legend.append("■ ", colour).append(f"{name} {seconds:.1f}s  ", "dim")
    bar.add_row(*(Text("━" * 400, colour, no_wrap=True, overflow="crop") for _, colour, _ in parts))
    return [bar, legend] if parts else []
