"""Curves as PNG pictures, for places that show no SVG. Drawn by matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from orchestrator.report.charts import Series

#: The page's colours in light mode.
_COLOURS = ("#2563c9", "#d9730d", "#0f8a6c", "#a33bb5", "#8b8f98", "#b8860b", "#c2416b", "#3f7d8c")
_SIZE, _DPI = (9.5, 4.2), 120


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write_png(path: Path, title: str, series: Sequence[Series], x_name: str) -> None:
    """Draw lines with their bands into the file at ``path``; do nothing without matplotlib."""
    if not can_draw():
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for one in series:
        colour = _COLOURS[one.colour - 1]
        axes.plot(*zip(*one.points, strict=True), color=colour, label=one.name)
        if one.band:
            places, lows, highs = zip(*one.band, strict=True)
            axes.fill_between(places, lows, highs, color=colour, alpha=0.14, linewidth=0)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x_name)
    axes.grid(color="#ecece8")
    axes.legend(frameon=False, fontsize=8)
    FigureCanvasAgg(figure).print_png(path)
