"""Charts without a plotting library: inline SVG for the report, braille for the terminal.

Colours are CSS classes (``c1`` to ``c6``), so that the page's style sheet decides what they are in light and
in dark mode. Every text that reaches the SVG is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup, escape

Point = tuple[float, float]
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 10.0, 34.0
_MOST_POINTS = 300


@dataclass(frozen=True)
class Series:
    """One line. ``faint`` is for raw data behind a smoothed line; ``marks`` puts a dot on every point.

    ``spread`` holds an interval (low, high) by x, drawn as an error bar.
    """

    name: str
    points: Sequence[Point]
    colour: int = 1
    style: Literal["line", "faint", "marks"] = "line"
    spread: Mapping[float, tuple[float, float]] = field(default_factory=dict)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers that cover ``low`` to ``high``."""
    if not high > low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - (margin if low else 0.0), high + margin
    raw = (high - low) / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(f * magnitude for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Tick labels of one axis, all with the same number of decimals."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    largest = max(abs(v) for v in values)
    if largest and (largest >= 1e5 or largest < 1e-2):
        return ["0" if v == 0 else _scientific(v) for v in values]
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step * 1e-6), 6)
    return [f"{v:.{decimals}f}" for v in values]


def short(value: float) -> str:
    """A number in about four characters, for tables and tooltips."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return _scientific(value)
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:#.3g}"


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most ``most`` points: means of equal runs of points. Values that are not finite are left out."""
    good = [p for p in points if math.isfinite(p[1])]
    size = -(-len(good) // most) if good else 1
    runs = [good[i : i + size] for i in range(0, len(good), size)]
    return [(run[-1][0], sum(p[1] for p in run) / len(run)) for run in runs]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Centred moving mean over ``window`` points; shorter at both ends."""
    half = window // 2
    runs = [points[max(0, i - half) : i + half + 1] for i in range(len(points))]
    return [(p[0], sum(q[1] for q in run) / len(run)) for p, run in zip(points, runs, strict=True)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    width: int = 560,
    height: int = 220,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Lines over steps, with axes and a tooltip for every step. Empty where there is nothing to draw."""
    drawn = [Series(s.name, thin(s.points), s.colour, s.style, s.spread) for s in series]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return Markup("")
    ys = [y for s in drawn for _, y in s.points] + [y for s in drawn for pair in s.spread.values() for y in pair]
    low, high = y_range or (min(ys), max(ys))
    frame = _Frame(width, height, ticks(low, high), _extent([x for s in drawn for x, _ in s.points]))
    body = [frame.axes()]
    for s in drawn:
        for x, (bottom, top) in s.spread.items():
            body.append(_line(f"spread c{s.colour}", frame.x(x), frame.y(bottom), frame.x(x), frame.y(top)))
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in s.points)
        body.append(f'<polyline class="{s.style} c{s.colour}" points="{path}"/>')
        if s.style == "marks" or len(s.points) == 1:
            dots = (f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4"/>' for x, y in s.points)
            body.append(f'<g class="dot c{s.colour}">{"".join(dots)}</g>')
    tips: dict[float, list[str]] = {}
    for s in drawn:
        for x, y in s.points:
            tips.setdefault(x, [f"step {x:g}"]).append(f"{s.name}\t{short(y)}")
    return _svg(width, height, title, [*body, frame.hits(tips)])


def stacked_bars(parts: Sequence[Series], *, title: str, unit: str, width: int = 560, height: int = 220) -> Markup:
    """One bar per step, made of the parts' values; runs of steps are averaged where there are many."""
    given = [{x: y for x, y in p.points if math.isfinite(y)} for p in parts]
    steps = sorted({x for column in given for x in column})
    if not steps:
        return Markup("")
    columns = [dict(thin([(x, column.get(x, 0.0)) for x in steps])) for column in given]
    xs = sorted(columns[0])
    totals = [sum(max(column.get(x, 0.0), 0.0) for column in columns) for x in xs]
    low, high = _extent(xs)
    gap = (high - low) / max(len(xs) - 1, 1)
    frame = _Frame(width, height, ticks(0.0, max(totals)), (low - gap / 2, high + gap / 2))
    slot = min((width - _LEFT - _RIGHT) / len(xs), 60.0)
    body, tips = [frame.axes()], {}
    for x, total in zip(xs, totals, strict=True):
        base, tip = 0.0, [f"step {x:g}", f"total\t{short(total)} {unit}"]
        for part, column in zip(parts, columns, strict=True):
            value = max(column.get(x, 0.0), 0.0)
            top, bottom = frame.y(base + value), frame.y(base)
            body.append(
                f'<rect class="bar c{part.colour}" x="{frame.x(x) - slot * 0.4:.1f}" y="{top:.1f}" '
                f'width="{slot * 0.8:.1f}" height="{bottom - top:.1f}"/>'
            )
            tip.append(f"{part.name}\t{short(value)} {unit}")
            base += value
        tips[x] = tip
    return _svg(width, height, title, [*body, frame.hits(tips)])


def braille(points: Sequence[Point], x_range: Point, y_range: Point, width: int, height: int) -> list[str]:
    """A line drawn in braille dots: ``height`` rows of ``width`` characters."""
    grid = [[0] * width for _ in range(height)]
    across, down = width * 2 - 1, height * 4 - 1
    last: tuple[int, int] | None = None
    for x, y in thin(points, most=width * 2):
        column = _place(x, x_range, across)
        row = down - _place(y, y_range, down)
        start = last or (column, row)
        steps = max(abs(column - start[0]), abs(row - start[1]), 1)
        for i in range(steps + 1):
            c = round(start[0] + (column - start[0]) * i / steps)
            r = round(start[1] + (row - start[1]) * i / steps)
            grid[r // 4][c // 2] |= _DOTS[r % 4][c % 2]
        last = (column, row)
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in grid]


_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def _place(value: float, span: Point, most: int) -> int:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return round(min(max(share, 0.0), 1.0) * most)


def _extent(xs: Sequence[float]) -> tuple[float, float]:
    low, high = min(xs), max(xs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


class _Frame:
    """The axes of a chart and the scales from data to pixels."""

    def __init__(self, width: int, height: int, y_ticks: list[float], x_extent: tuple[float, float]) -> None:
        self._right, self._bottom = width - _RIGHT, height - _BOTTOM
        self._y_ticks, self._x_extent = y_ticks, x_extent
        self.x = _scale(x_extent, (_LEFT + 6, self._right - 6))
        self.y = _scale((y_ticks[0], y_ticks[-1]), (self._bottom, _TOP))

    def axes(self) -> str:
        parts = []
        for value, label in zip(self._y_ticks, labels(self._y_ticks), strict=True):
            y = self.y(value)
            parts.append(_line("grid", _LEFT, y, self._right, y))
            parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{y + 4:.1f}">{label}</text>')
        low, high = self._x_extent
        for value in ticks(low, high, 7):
            if low <= value <= high and value == int(value):
                x, y = self.x(value), self._bottom + 16
                parts.append(f'<text class="tick mid" x="{x:.1f}" y="{y:.1f}">{int(value)}</text>')
        middle = (_LEFT + self._right) / 2
        parts.append(f'<text class="tick mid" x="{middle:.1f}" y="{self._bottom + 30:.1f}">step</text>')
        return "".join(parts)

    def hits(self, tips: Mapping[float, Sequence[str]]) -> str:
        """Invisible columns, one per x, that carry the tooltips and show a cross-hair."""
        xs, parts = sorted(tips), []
        for i, x in enumerate(xs):
            left = (self.x(xs[i - 1]) + self.x(x)) / 2 if i else _LEFT
            right = (self.x(xs[i + 1]) + self.x(x)) / 2 if i + 1 < len(xs) else self._right
            tip, at = escape("\n".join(tips[x])), self.x(x)
            parts.append(
                f'<g class="hit" data-tip="{tip}"><rect x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" '
                f'height="{self._bottom - _TOP}"/>{_line("cross", at, _TOP, at, self._bottom)}</g>'
            )
        return "".join(parts)


def _scale(source: tuple[float, float], target: tuple[float, float]) -> Callable[[float], float]:
    span = (target[1] - target[0]) / (source[1] - source[0])
    return lambda value: target[0] + (value - source[0]) * span


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(width: int, height: int, title: str, body: Sequence[str]) -> Markup:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return Markup(head + "".join(body) + "</svg>")  # every text in ``body`` is a number or was escaped above
