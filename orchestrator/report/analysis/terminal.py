"""An analysis in the terminal: the figures that matter most, and what is missing."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from evaluation.analysis.estimates import Estimate
from orchestrator.report.analysis.sections import Chapter
from orchestrator.report.analysis.tables import Cell, shown
from orchestrator.report.analysis.write import Written
from orchestrator.report.text import clean

_COLUMNS = {
    "model": "model",
    "temperature": "T",
    "steps": "steps",
    "pass@1": "pass@1",
    "global@1": "global",
    "executed_global@1": "global*",
    "tau": "tau",
    "executed_tau": "tau*",
    "first_passage": "passage",
    "executed_first_passage": "passage*",
}
_LEGEND = (
    "global is global AR-ness@1, tau is Kendall's tau between position and step, and passage is the average "
    "first-passage, all of the text; with * they are of all commits, those behind the end of the text included. A "
    "text written from left to right has 1, 1 and about 0.5."
)


def analysis_view(written: Written) -> RenderableType:
    """The order at every setting, chapter by chapter."""
    tables = [part for one in written.chapters for part in (Text(clean(one.title), style="bold"), _table(one))]
    return Group(*tables, Text(_LEGEND, style="dim"))


def gap_lines(written: Written) -> list[str]:
    """Say what is missing, a line each, with a line of the command that supplies it."""
    gaps = dict.fromkeys(gap for one in written.chapters for part in one.sections for gap in part.missing)
    lines = [(f"missing: {clean(gap.what)}", f"  {clean(gap.command)}" if gap.command else "") for gap in gaps]
    return [line for pair in lines for line in pair if line]


def _table(one: Chapter) -> RichTable:
    (settings,) = (table for part in one.sections for table in part.tables if table.name == "settings")
    places = [
        (settings.columns.index(name), title) for name, title in _COLUMNS.items() if name in settings.columns
    ]
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, title in places:
        table.add_column(title, justify="right" if place else "left", overflow="fold", min_width=len(title))
    for row in settings.rows:
        table.add_row(*(Text(clean(_short(row[place]))) for place, _ in places))
    return table


def _short(cell: Cell) -> str:
    """Without its interval."""
    return f"{cell.value:.2f}" if isinstance(cell, Estimate) else shown(cell)
