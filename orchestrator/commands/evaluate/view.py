"""What `couplet evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.results import Results
from evaluation.settings import EvaluationSettings
from orchestrator.commands.evaluate.description import LEGEND, LEGEND_OF_TIMES, describe
from orchestrator.commands.evaluate.sections import Pair, Section, sections
from orchestrator.report.text import clean


def evaluation_view(settings: EvaluationSettings, results: Results) -> RenderableType:
    """The settings that all cells share, and the tables."""
    return Group(
        Text(clean("\n".join(describe(settings)))),
        *_tables(settings, results),
        Text(),
        Text(f"{LEGEND} {LEGEND_OF_TIMES}", style="dim"),
    )


def _tables(settings: EvaluationSettings, results: Results) -> Iterator[RenderableType]:
    for section in sections(settings, results, times=True):
        yield Text()
        if section.title:
            yield Text(section.title)
        yield _table(section)


def _table(section: Section) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for place, heading in enumerate(section.headings):
        named = place < section.names
        table.add_column(
            _stacked(heading), justify="left" if named else "right", overflow="fold", no_wrap=not named
        )
    before: tuple[Pair, ...] = ()
    for row in section.rows:
        first = ("", "") if before[:1] == row[:1] else row[0]
        table.add_row(*map(_stacked, (first, *row[1:])))
        before = row
    return table


def _stacked(pair: Pair) -> str:
    return "\n".join(pair).rstrip("\n")
