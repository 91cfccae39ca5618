"""Charts without a plotting library: inline SVG for the report.

Colours are CSS classes (``c1`` to ``c8`` for series, ``h0`` to ``h9`` for heat), so that the page's style sheet
decides what they are in light and in dark mode. Every text that reaches the SVG is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import numpy as np
from markupsafe import Markup

from orchestrator.report.chart_frame import Frame, line, svg
from orchestrator.report.chart_numbers import extent, short, ticks

Point = tuple[float, float]
#: (x, low, high)
Span = tuple[float, float, float]
COLOURS = 8
_MOST_POINTS, _MOST_COLUMNS = 300, 120


@dataclass(frozen=True)
class Series:
    """One line. ``faint`` is for raw data behind a smoothed line; ``marks`` puts a dot on every point.

    ``band`` is an area behind the line, ``bars`` are intervals around single points.
    """

    name: str
    points: Sequence[Point]
    colour: int = 1
    style: Literal["line", "faint", "marks"] = "line"
    band: Sequence[Span] = field(default=())
    bars: Sequence[Span] = field(default=())


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """Reduce to at most ``most`` points: means of equal runs of points, without what is not finite."""
    good = [p for p in points if math.isfinite(p[1])]
    size = -(-len(good) // most) if good else 1
    runs = [good[i : i + size] for i in range(0, len(good), size)]
    return [(run[-1][0], sum(p[1] for p in run) / len(run)) for run in runs]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Return the centred moving mean over ``window`` points; the window is shorter at both ends."""
    half, values = window // 2, np.array([y for _, y in points])
    sums = np.concatenate(([0.0], np.cumsum(values)))
    places = np.arange(len(points))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(points))
    means = (sums[last] - sums[first]) / (last - first)
    return [(x, float(mean)) for (x, _), mean in zip(points, means, strict=True)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    width: int = 560,
    height: int = 220,
    y_range: tuple[float, float] | None = None,
    x_name: str = "step",
) -> Markup:
    """Draw lines over steps, with axes and a tooltip for every step. Empty where there is nothing to draw."""
    drawn = [s for s in map(_thinned, series) if s.points]
    if not drawn:
        return Markup("")
    spans = [span for s in drawn for span in (*s.band, *s.bars)]
    ys = [y for s in drawn for _, y in s.points] + [y for _, *pair in spans for y in pair]
    low, high = y_range or (min(ys), max(ys))
    frame = Frame(width, height, ticks(low, high), extent([x for s in drawn for x, _ in s.points]), x_name)
    body = [frame.axes()]
    for s in drawn:
        if s.band:
            edge = [(x, top) for x, _, top in s.band] + [(x, bottom) for x, bottom, _ in reversed(s.band)]
            body.append(f'<polygon class="band c{s.colour}" points="{frame.path(edge)}"/>')
        for x, bottom, top in s.bars:
            body.append(line(f"spread c{s.colour}", frame.x(x), frame.y(bottom), frame.x(x), frame.y(top)))
    for s in drawn:
        body.append(f'<polyline class="{s.style} c{s.colour}" points="{frame.path(s.points)}"/>')
        if s.style == "marks" or len(s.points) == 1:
            dots = (f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4"/>' for x, y in s.points)
            body.append(f'<g class="dot c{s.colour}">{"".join(dots)}</g>')
    tips: dict[float, list[str]] = {}
    for s in drawn:
        around = {x: f" ({short(low)} to {short(high)})" for x, low, high in (*s.band, *s.bars)}
        for x, y in s.points:
            tip = tips.setdefault(x, [f"{x_name} {short(x)}"])
            tip.append(f"{s.name}\t{short(y)}{around.get(x, '')}")
    return svg(width, height, title, [*body, frame.tooltips(tips)])


def stacked_bars(parts: Sequence[Series], *, title: str, unit: str, width: int = 560, height: int = 220) -> Markup:
    """Draw one bar per step, made of the parts' values; runs of steps are averaged where there are many."""
    given = [{x: y for x, y in p.points if math.isfinite(y)} for p in parts]
    steps = sorted({x for column in given for x in column})
    if not steps:
        return Markup("")
    columns = [dict(thin([(x, column.get(x, 0.0)) for x in steps])) for column in given]
    xs = sorted(columns[0])
    totals = [sum(max(column.get(x, 0.0), 0.0) for column in columns) for x in xs]
    frame = Frame(width, height, ticks(0.0, max(totals)), _with_margin(xs), "step")
    slot = min(frame.width / len(xs), 60.0)
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
    return svg(width, height, title, [*body, frame.tooltips(tips)])


def heat_map(
    rows: Sequence[Series],
    *,
    title: str,
    coldest: float = 0.0,
    hottest: float = 1.0,
    width: int = 1140,
    height: int = 260,
) -> Markup:
    """Draw a row of cells per series, the first on top; their values, ``coldest`` to ``hottest``, are colours.

    A cell is the mean of a few steps where there are many, the same ones in every row. It stays blank where the
    series has no value at them.
    """
    given = [{x: y for x, y in row.points if math.isfinite(y)} for row in rows]
    steps = sorted({x for column in given for x in column})
    if not steps:
        return Markup("")
    size = -(-len(steps) // _MOST_COLUMNS)
    runs = [steps[i : i + size] for i in range(0, len(steps), size)]
    xs = [run[-1] for run in runs]
    columns = [
        {run[-1]: fmean(values) for run in runs if (values := [column[x] for x in run if x in column])}
        for column in given
    ]
    frame = Frame(width, height, [0.0, float(len(rows))], _with_margin(xs), "step")
    slot = frame.width / len(xs)
    body, tips = [frame.axes([rows[-1].name, rows[0].name])], {}
    for x in xs:
        tip = [f"step {x:g}"]
        for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
            if x in column:
                top, bottom = frame.y(len(rows) - number), frame.y(len(rows) - number - 1)
                tone = min(max(int((column[x] - coldest) / (hottest - coldest) * 10), 0), 9)
                body.append(
                    f'<rect class="heat h{tone}" x="{frame.x(x) - slot / 2:.1f}" y="{top:.1f}" '
                    f'width="{slot + 0.3:.1f}" height="{bottom - top + 0.3:.1f}"/>'
                )
                tip.append(f"{row.name}\t{short(column[x])}")
        tips[x] = tip
    return svg(width, height, title, [*body, frame.tooltips(tips)])


def _thinned(s: Series) -> Series:
    band = [span for span in s.band if all(map(math.isfinite, span))]
    lows, highs = thin([(x, low) for x, low, _ in band]), thin([(x, high) for x, _, high in band])
    area = [(x, low, high) for (x, low), (_, high) in zip(lows, highs, strict=True)]
    return Series(s.name, thin(s.points), s.colour, s.style, area, s.bars)


def _with_margin(xs: Sequence[float]) -> tuple[float, float]:
    """Return the extent of ``xs``, wider by half a bar on both sides."""
    low, high = extent(xs)
    gap = (high - low) / max(len(xs) - 1, 1)
    return low - gap / 2, high + gap / 2
