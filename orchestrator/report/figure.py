"""One metric of some runs as a picture by itself, for papers and pages."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup, escape

from common.errors import UserError
from common.metrics.registry import find
from orchestrator.report.charts import line_chart
from orchestrator.report.compare import Comparison
from orchestrator.report.compare_page import curves
from orchestrator.report.page import chart_style, replace_text
from orchestrator.report.panels import meaning

_WIDTH, _HEIGHT = 760, 320
_LINE, _MARGIN = 22, 46


def write_figure(comparison: Comparison, key: str, path: Path) -> Path:
    """Draw a metric of all runs over steps, as an SVG file at ``path``, and return it.

    Raises UserError for a metric that no run has, and OSError.
    """
    try:
        find(key)
    except KeyError as error:
        raise UserError(f"--figure {key}: no such metric; docs/metrics.md lists them") from error
    series = [each for each in curves(comparison, key) if each.points]
    if not series:
        raise UserError(f"--figure {key}: none of the runs has it; name a metric of their metrics.jsonl")
    chart = line_chart(series, title=key, width=_WIDTH, height=_HEIGHT)
    legend = [
        f'<rect class="bar c{each.colour}" x="{_MARGIN}" y="{y - 7}" width="14" height="3"/>'
        f'<text x="{_MARGIN + 22}" y="{y}">{escape(each.name)}</text>'
        for y, each in ((2 * _LINE + number * _LINE, each) for number, each in enumerate(series))
    ]
    top = 2 * _LINE + len(series) * _LINE - 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _HEIGHT}" '
        f'font-family="system-ui, DejaVu Sans, sans-serif" role="img" aria-label="{escape(key)}">',
        f'<style>{chart_style()}</style><rect width="100%" height="100%" style="fill: var(--card)"/>',
        f'<text x="{_MARGIN}" y="{_LINE}">{escape(key)}: {escape(meaning(key))}</text>',
        *legend,
        chart.replace(Markup("<svg "), Markup(f'<svg y="{top}" width="{_WIDTH}" height="{_HEIGHT}" '), 1),
        "</svg>\n",
    ]
    return replace_text(path, "".join(parts))
