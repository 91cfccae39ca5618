"""A dashboard as a picture: its panels where Grafana puts them, drawn from what a Prometheus has."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.deploy.promql import ALL, filled, panels

if TYPE_CHECKING:
    from tests.deploy.prometheus_server import Prometheus, Series

_COLUMNS = 24
_INCHES_A_COLUMN = 0.8
_INCHES_A_ROW = 0.42
_MOST_IN_LEGEND = 8
_SERIES = list[tuple[str, bool, "Series"]]  # name, whether on the right axis, points


def draw(dashboard: Path, prometheus: Prometheus, path: Path, run: str = ALL, seconds: float = 300.0) -> None:
    """Write a PNG of the last ``seconds`` to ``path``."""
    matplotlib.use("Agg")
    board = json.loads(dashboard.read_text())
    shown = list(panels(board))
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = Figure(figsize=(_COLUMNS * _INCHES_A_COLUMN, (height + 1) * _INCHES_A_ROW), dpi=70)
    for panel in shown:
        _draw_panel(figure, panel, _fetch(panel, prometheus, run, seconds), height)
    for row in (panel for panel in board["panels"] if panel["type"] == "row"):
        figure.text(0.005, 1 - (row["gridPos"]["y"] + 0.7) / height, row["title"], fontsize=13, weight="bold")
    figure.savefig(path)


def _fetch(panel: dict[str, Any], prometheus: Prometheus, run: str, seconds: float) -> _SERIES:
    right = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"].get("overrides", [])
        if {"id": "custom.axisPlacement", "value": "right"} in override["properties"]
    }
    found = []
    for target in panel["targets"]:
        expr = filled(target["expr"], run, window="30s", whole=f"{math.ceil(seconds)}s")
        for series in prometheus.query_range(expr, seconds):
            labels = series.labels
            name = re.sub(r"{{(\w+)}}", lambda label, of=labels: of.get(label[1], ""), target["legendFormat"])
            found.append((name.strip(), target["refId"] in right, series))
    return found


def _draw_panel(figure: Figure, panel: dict[str, Any], found: _SERIES, height: int) -> None:
    place = panel["gridPos"]
    left, bottom = place["x"] / _COLUMNS, 1 - (place["y"] + place["h"]) / height
    width, tall = place["w"] / _COLUMNS, place["h"] / height
    axes = figure.add_axes((left + 0.025, bottom + tall * 0.14, width - 0.04, tall * 0.68))
    axes.set_title(panel["title"], fontsize=11, loc="left")
    axes.tick_params(labelsize=8)
    drawing: dict[str, Callable[[Axes, _SERIES, dict[str, Any]], None]] = {
        "timeseries": _lines,
        "stat": _figures,
        "bargauge": _bars,
        "heatmap": _heat,
    }
    if found:
        drawing[panel["type"]](axes, found, panel)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color="red", transform=axes.transAxes)


def _lines(axes: Axes, found: _SERIES, panel: dict[str, Any]) -> None:
    right = axes.twinx() if any(on_right for _, on_right, _ in found) else None
    for index, (name, on_right, series) in enumerate(found):
        target = right if on_right and right is not None else axes
        times = [datetime.fromtimestamp(moment) for moment, _ in series.points]
        style = ":" if on_right else "-"
        target.plot(times, [v for _, v in series.points], style, lw=1, label=name, color=f"C{index % 10}")
    axes.yaxis.set_major_formatter(lambda value, _: formatted(value, _unit(panel)))
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    if right is not None:
        right.tick_params(labelsize=8)
    if len(found) <= _MOST_IN_LEGEND and axes.get_lines():
        axes.legend(fontsize=7, loc="best", framealpha=0.5)
    axes.grid(alpha=0.3)


def _figures(axes: Axes, found: _SERIES, panel: dict[str, Any]) -> None:
    axes.set_axis_off()
    name_only = panel["options"].get("textMode") == "name"
    lines = [name if name_only else formatted(series.value, _unit(panel)) for name, _, series in found]
    size = 10 if name_only else max(9, 24 - 4 * len(lines))
    axes.text(0.5, 0.4, "\n".join(lines), ha="center", va="center", fontsize=size, transform=axes.transAxes)


def _bars(axes: Axes, found: _SERIES, panel: dict[str, Any]) -> None:
    axes.barh([name for name, _, _ in found], [series.value for _, _, series in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: formatted(value, _unit(panel)))


def _heat(axes: Axes, found: _SERIES, panel: dict[str, Any]) -> None:
    rows = [[value for _, value in series.points] for _, _, series in found]
    shortest = min(map(len, rows))
    cells = [row[-shortest:] for row in rows]
    axes.imshow(cells, aspect="auto", vmin=0, vmax=1, cmap="Spectral", interpolation="nearest")
    axes.set_yticks(range(len(found)), [name for name, _, _ in found])
    axes.set_xticks([])


def _unit(panel: dict[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"]["unit"])


def formatted(value: float, unit: str) -> str:
    """A value in one of Grafana's units, roughly as Grafana prints it."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes":
        power = min(4, int(math.log(abs(value), 1024))) if abs(value) >= 1 else 0
        return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
    return f"{value:.3g} s" if unit == "s" else f"{value:.4g}"
