"""The comparison of runs as one HTML page: curves over each other, by step and by wall time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from common.metrics.stages import HELD_OUT_AT_T
from orchestrator.report import stage_panels
from orchestrator.report.charts import Series, line_chart, smooth
from orchestrator.report.compare import Comparison
from orchestrator.report.compare_view import changes_in_words
from orchestrator.report.display_content import losses_by_ratio
from orchestrator.report.page import write_page
from orchestrator.report.panels import DIFFUSION, LEARNING, POLICY, SYSTEM, components, meaning

_TASKS_SHOWN = 40
_PASS_RATE = "evaluation/pass_rate"
_HELD_OUT_LOSS = "held_out/loss"
_WIDE = frozenset({_PASS_RATE, "reward/mean", _HELD_OUT_LOSS, "denoising/loss"})


@dataclass(frozen=True)
class Overlay:
    """A metric of all runs; ``by_time`` is empty where no run recorded times."""

    key: str
    meaning: str
    by_step: Markup
    by_time: Markup
    wide: bool


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the page to ``path`` and return it. Raises OSError."""
    tasks = list(comparison.verdicts.items())
    view = {
        "comparison": comparison,
        "written": datetime.now().astimezone().isoformat(" ", "seconds"),
        "sentences": [changes_in_words(change, comparison.labels[0]) for change in comparison.changes],
        "window": comparison.window,
        "charts": _overlays(comparison),
        "tasks": tasks[:_TASKS_SHOWN],
        "tasks_left_out": max(0, len(tasks) - _TASKS_SHOWN),
    }
    return write_page("compare.html", view, path)


def _overlays(comparison: Comparison) -> list[Overlay]:
    keys = _stage_keys(comparison) if comparison.of_stages else _keys(comparison)
    overlays = (_overlay(comparison, key) for key in keys)
    return [overlay for overlay in overlays if overlay.by_step]


def _keys(comparison: Comparison) -> list[str]:
    names = dict.fromkeys(name for run in comparison.runs for name in components(run))
    panels = (*LEARNING, *DIFFUSION, *POLICY, *SYSTEM)
    return [
        _PASS_RATE,
        "reward/mean",
        "reward/solved",
        *(f"reward/{name}" for name in names),
        *(key for panel in panels for key in panel.keys),
    ]


def _stage_keys(comparison: Comparison) -> list[str]:
    ratios = dict.fromkeys(ratio for run in comparison.runs for ratio in losses_by_ratio(run.before))
    panels = (*stage_panels.LEARNING, *stage_panels.DATA, *stage_panels.SPEED)
    return [
        _HELD_OUT_LOSS,
        "denoising/loss",
        *(HELD_OUT_AT_T + ratio for ratio in ratios),
        *(key for panel in panels for key in panel.keys),
    ]


def _overlay(comparison: Comparison, key: str) -> Overlay:
    wide = key in _WIDE
    width, height = (1140, 300) if wide else (560, 220)
    by_step, by_time = [], []
    times = [run.seconds_at() for run in comparison.runs]
    name, unit = _unit(max((t for at in times for t in at.values()), default=0.0))
    for series, at in zip(curves(comparison, key), times, strict=True):
        by_step.append(series)
        points = [(at[x] / unit, y) for x, y in series.points if x in at]
        by_time.append(Series(series.name, points, series.colour, series.style))
    title, y_range = f"{key} of each run", (0.0, 1.0) if key == _PASS_RATE else None
    return Overlay(
        key=key,
        meaning=meaning(key),
        by_step=line_chart(by_step, title=title, width=width, height=height, y_range=y_range),
        by_time=line_chart(by_time, title=title, width=width, height=height, y_range=y_range, x_name=name),
        wide=wide,
    )


def curves(comparison: Comparison, key: str) -> list[Series]:
    """Return a line for each run: means over one window, as raw values of several runs would hide each other."""
    labels = list(enumerate(comparison.labels, start=1))
    if key == _PASS_RATE or key.startswith(_HELD_OUT_LOSS):
        rounds = [run.evaluated("pass_rate" if key == _PASS_RATE else key) for run in comparison.runs]
        return [Series(label, points, i, "marks") for (i, label), points in zip(labels, rounds, strict=True)]
    raw = [run.points(key) for run in comparison.runs]
    if len({y for points in raw for _, y in points}) < 2:
        raw = [[] for _ in raw]  # one number all along, in all runs: there is nothing to compare
    width = comparison.window
    return [Series(label, smooth(points, width), i) for (i, label), points in zip(labels, raw, strict=True)]


def _unit(longest: float) -> tuple[str, float]:
    """Return name and seconds of the unit in which a time of ``longest`` seconds is easily read."""
    units: Mapping[str, float] = {"hours since the start": 3600.0, "minutes since the start": 60.0}
    return next(((n, s) for n, s in units.items() if longest >= 2 * s), ("seconds since the start", 1.0))
