"""A figure of an analysis: on a page, and as SVG and PNG files that stand alone."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from markupsafe import Markup, escape

from evaluation.analysis.estimates import Estimate
from orchestrator.report.charts import Point, Series, Span, line_chart
from orchestrator.report.page import chart_style, replace_text

WIDTH, HEIGHT = 560, 240
_LINE, _MARGIN, _SCALE = 18, 20, 2.0
_WRAP = 84
#: What texts are drawn with; of the last, a family of that very name is looked for to make a PNG.
_FONTS = "system-ui, DejaVu Sans, Liberation Sans, Noto Sans, Arial, sans-serif"


@dataclass(frozen=True)
class Picture:
    """A chart with what it takes to read it. ``legend`` names the colours; ``chart`` is empty without anything to
    draw."""

    name: str
    title: str
    caption: str
    legend: tuple[tuple[int, str], ...]
    chart: Markup


def picture(
    name: str,
    title: str,
    caption: str,
    series: Sequence[Series],
    x_name: str,
    y_range: tuple[float, float] | None = None,
) -> Picture:
    """Draw lines as a figure."""
    chart = line_chart(series, title=title, width=WIDTH, height=HEIGHT, y_range=y_range, x_name=x_name)
    legend = dict.fromkeys((one.colour, one.name) for one in series if one.points)
    return Picture(name, title, caption, tuple(legend), chart)


def estimated(name: str, colour: int, points: Sequence[tuple[float, Estimate | None]]) -> Series:
    """Return a line through estimates, with their intervals as bars."""
    there = [(x, one) for x, one in points if one is not None]
    values: list[Point] = [(x, one.value) for x, one in there]
    bars: list[Span] = [(x, one.low, one.high) for x, one in there if one.low is not None and one.high is not None]
    return Series(name, values, colour, "marks", bars=bars)


def standalone(drawn: Picture) -> str:
    """Return a figure as an SVG document with title, legend and caption, in light or dark as the reader likes."""
    caption = textwrap.wrap(drawn.caption, _WRAP)
    top = 34 + len(drawn.legend) * _LINE
    height = top + HEIGHT + len(caption) * _LINE + 14
    legend = [
        f'<rect class="bar c{colour}" x="{_MARGIN}" y="{y - 7}" width="14" height="3"/>'
        f'<text x="{_MARGIN + 22}" y="{y}">{escape(name)}</text>'
        for y, (colour, name) in ((42 + number * _LINE, entry) for number, entry in enumerate(drawn.legend))
    ]
    notes = [
        f'<text x="{_MARGIN}" y="{top + HEIGHT + 16 + number * _LINE}">{escape(text)}</text>'
        for number, text in enumerate(caption)
    ]
    chart = _TOOLTIPS.sub("", drawn.chart)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="{_FONTS}" role="img" '
        f'aria-label="{escape(drawn.title)}">',
        f'<style>{chart_style()}</style><rect width="100%" height="100%" style="fill: var(--card)"/>',
        f'<text class="title" x="{_MARGIN}" y="22">{escape(drawn.title)}</text>',
        *legend,
        chart.replace("<svg ", f'<svg y="{top}" width="{WIDTH}" height="{HEIGHT}" ', 1),
        *notes,
        "</svg>\n",
    ]
    return "".join(parts)


#: Areas that show tooltips on a page, where there is a script.
_TOOLTIPS = re.compile(r'<g class="hit".*?</g>', re.DOTALL)


def as_png(svg: str) -> bytes:
    """Draw a document of :func:`standalone` in the colours of light mode, two pixels for each of its units."""
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", svg.partition("@media")[0]))
    plain = re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], svg)
    return bytes(resvg_py.svg_to_bytes(svg_string=plain, zoom=_SCALE))


def has_fonts() -> bool:
    """Return whether there are fonts to draw the texts of a PNG with."""
    probe = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" font-family="{_FONTS}">'
        '<text y="15">Aa</text></svg>'
    )
    with_fonts, without = (
        resvg_py.svg_to_bytes(svg_string=probe, skip_system_fonts=skip) for skip in (False, True)
    )
    return bytes(with_fonts) != bytes(without)


def write_picture(folder: Path, drawn: Picture) -> tuple[Path, Path]:
    """Write a figure as NAME.svg and NAME.png, and return the paths. Raises OSError."""
    return write_svg(folder, drawn.name, standalone(drawn))


def write_svg(folder: Path, name: str, svg: str) -> tuple[Path, Path]:
    """Write a document as ``name``.svg and ``name``.png, and return the paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    png = folder / f"{name}.png"
    png.write_bytes(as_png(svg))
    return replace_text(folder / f"{name}.svg", svg), png
