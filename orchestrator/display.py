"""What a run shows in the terminal: a live screen, or plain lines where nobody watches.

Completions and notes are never read as markup, and :func:`orchestrator.report.clean` takes the control
characters out of them, so a model cannot steer the terminal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from orchestrator.charts import Point, braille, labels, short, ticks
from orchestrator.report import changed, clean, families, program

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
_LINES = 20
_SHARES = frozenset({"reward/solved", "reward/pass_rate", "policy/clip_fraction"})
_TIMES = (
    ("rollout", "blue"),
    ("reward", "yellow"),
    ("update", "green"),
    ("weights", "magenta"),
    ("wait", "white"),
)


class Display:
    """Shows the progress of a run; this one shows nothing. Calls may come in any order."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock, self._started = console, clock, clock()
        self._step, self._total = 0, 0
        self._ends: list[tuple[int, float]] = []

    def phase(self, name: str) -> None:
        """A new phase began, such as ``train``."""

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """A learner step ended. Any metric may be missing."""
        self._step, self._total = step, total
        self._ends = [*self._ends[-20:], (step, self._clock())]

    def evaluation(self, step: int, pass_rate: float, by_family: Families) -> None:
        """An evaluation on held-out tasks ended; ``by_family`` holds (passed, total)."""

    def note(self, message: str) -> None:
        """Something the user should know, such as a restart."""

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
        """Time left at the pace of the last twenty steps."""
        (first, began), (last, ended) = (self._ends[0], self._ends[-1]) if self._ends else ((0, 0.0), (0, 0.0))
        if last <= first:
            return "?"
        left = (ended - began) / (last - first) * (self._total - last)
        return duration(max(0.0, left - (self._clock() - ended)))


def open_display(console: Console, plain: bool, clock: Clock = time.monotonic) -> Display:
    """The live screen on a terminal that can show it, else plain lines."""
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
        reward = _chart(
            "reward", self._rewards, [], extent, (scale[0], scale[-1]), (texts[0], texts[-1]), width, height
        )
        title = "samples passing" + (f"  ◆ held-out {self._held_out[-1][1]:.1%}" if self._held_out else "")
        passing = _chart(title, self._passing, self._held_out, extent, (0, 1), ("0%", "100%"), width, height)
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
    """``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _value(metrics: Mapping[str, float], key: str) -> str:
    value = metrics.get(key)
    if value is None:
        return "-"
    return f"{value:.1%}" if key in _SHARES else short(value)


def _chart(
    title: str,
    line: Sequence[Point],
    marks: Sequence[Point],
    x_range: Point,
    y_range: Point,
    y_labels: tuple[str, str],
    width: int,
    height: int,
) -> Text:
    gutter = max(map(len, y_labels)) + 2
    rows = braille(line, x_range, y_range, width - gutter, height)
    text = Text(" " * gutter + title + "\n", no_wrap=True)
    text.stylize("bold", 0)
    for number, row in enumerate(rows):
        label = y_labels[1] if number == 0 else y_labels[0] if number == height - 1 else ""
        text.append(f"{label:>{gutter - 2}} ", "dim").append("│", "dim")
        for column, dots in enumerate(row):
            marked = any(_cell(mark, x_range, y_range, len(row), height) == (number, column) for mark in marks)
            text.append("◆" if marked else dots, "green" if marked else "cyan")
        text.append("\n")
    right = f"{x_range[1]:g}"
    text.append(" " * (gutter - 1) + "└" + "─" * (width - gutter) + "\n", "dim")
    text.append(" " * gutter + "step 0" + right.rjust(width - gutter - 6), "dim")
    return text


def _cell(point: Point, x_range: Point, y_range: Point, width: int, height: int) -> tuple[int, int]:
    """Row and column of a point in a chart."""
    across = (point[0] - x_range[0]) / (x_range[1] - x_range[0])
    up = (point[1] - y_range[0]) / (y_range[1] - y_range[0])
    return round((1 - up) * (height - 1)), min(round(across * (width - 1)), width - 1)


def _time_bar(metrics: Mapping[str, float]) -> list[RenderableType]:
    """Where the last step's time went: a bar and its legend. Empty before the first step."""
    parts = [(n, c, metrics[f"seconds/{n}"]) for n, c in _TIMES if 0 < metrics.get(f"seconds/{n}", 0.0) < math.inf]
    bar, legend = Table.grid(expand=True), Text(no_wrap=True, overflow="ellipsis")
    for name, colour, seconds in parts:
        bar.add_column(ratio=max(1, round(seconds / sum(p[2] for p in parts) * 1000)))
        legend.append("■ ", colour).append(f"{name} {seconds:.1f}s  ", "dim")
    bar.add_row(*(Text("━" * 400, colour, no_wrap=True, overflow="crop") for _, colour, _ in parts))
    return [bar, legend] if parts else []


def summary_view(
    before: Mapping[str, Any], after: Mapping[str, Any], summary: Mapping[str, Any], report: Path
) -> RenderableType:
    """The end of a run: pass rates before and after, three programs that now pass, times, the report's place.

    ``before`` and ``after`` are records of ``evaluations.jsonl``; either may be empty.
    """
    gained, lost = changed(before, after, passes=True), changed(before, after, passes=False)
    parts: list[RenderableType] = ["", _headline(before, after, summary)]
    if before and after:
        parts += ["", _family_table(before, after), ""]
        parts.append(Text(f"{len(gained)} programs newly pass, {len(lost)} no longer do.", "dim"))
        parts += [_Pair(old, new) for old, new in gained[:3]]
    seconds = summary.get("seconds")
    phases = seconds.items() if isinstance(seconds, Mapping) else ()
    times = "  ".join(f"{clean(name)} {duration(value)}" for name, value in phases)
    counts = f"{summary.get('updates', '?')} steps  {summary.get('samples', '?')} samples"
    if isinstance(summary.get("samples_per_second"), int | float):
        counts += f"  {short(summary['samples_per_second'])} samples/s"
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in (("run", counts), ("time", times), ("report", str(report))):
        table.add_row(Text(name, "dim"), Text(text, overflow="fold"))
    return Group(*parts, "", table)


def _headline(before: Mapping[str, Any], after: Mapping[str, Any], summary: Mapping[str, Any]) -> Text:
    status = clean(summary.get("status", "incomplete"))
    text = Text.assemble((f" {status} ", "black on green" if status == "finished" else "black on yellow"), "  ")
    if before and after:
        gain = (after["pass_rate"] - before["pass_rate"]) * 100
        text.append(f"held-out pass rate {before['pass_rate']:.1%} → ").append(f"{after['pass_rate']:.1%}", "bold")
        text.append(f"  ({gain:+.1f} points", "green" if gain > 0 else "red")
        return text.append(f", {after.get('tasks', '?')} tasks)")
    if before:
        return text.append(f"held-out pass rate {before['pass_rate']:.1%}; no evaluation after training")
    return text.append("no held-out evaluation")


def _family_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("family", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column(Text.assemble("█ before ", ("▓ gained ", "green"), ("░ lost", "red")), ratio=1)
    for name in ("tasks", "before", "after", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, tasks, old, new in families(before, after):
        later = old if new is None else new
        kept, change = round(min(old, later) * 30), round(max(old, later) * 30) - round(min(old, later) * 30)
        bar = Text("█" * kept, "bright_black", no_wrap=True, overflow="crop")
        bar.append(("▓" if later > old else "░") * change, "green" if later > old else "red")
        points = Text("-" if new is None else f"{(new - old) * 100:+.1f}", "green" if later > old else "red")
        table.add_row(Text(name), bar, str(tasks), f"{old:.1%}", "-" if new is None else f"{new:.1%}", points)
    return table


class _Pair:
    """A task's programs before and after: side by side where there is room for that."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._before, self._after = before, after

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"\n{clean(self._after.get('family', ''))}  {clean(self._after.get('task_id', ''))}", "bold")
        panels = (
            _code_panel("before: failed", self._before, "red"),
            _code_panel("after: passed", self._after, "green"),
        )
        if options.max_width < 110:
            yield from panels
            return
        columns = Table.grid(expand=True, padding=(0, 1, 0, 0))
        columns.add_column(ratio=1)
        columns.add_column(ratio=1)
        columns.add_row(*panels)
        yield columns


def _code_panel(title: str, record: Mapping[str, Any], colour: str) -> Panel:
    lines = program(record).split("\n")
    if len(lines) > _LINES:
        lines[_LINES:] = [f"# … {len(lines) - _LINES} more lines"]
    code = Syntax("\n".join(lines), "python", theme="ansi_dark", background_color="default", word_wrap=True)
    return Panel(code, title=Text(title, colour), title_align="left", border_style=colour, box=box.ROUNDED)
