"""The comparison of runs in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report.chart_numbers import count, percent, short
from orchestrator.report.compare import Comparison, RunFigures, TaskChanges
from orchestrator.report.display import duration


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show the runs' figures, what their configurations differ in, and held-out tasks gained and lost."""
    of_stages = comparison.of_stages
    measured = ("held-out loss", "loss", "tokens/s") if of_stages else ("pass rate", "reward", "samples/s")
    figures = _table("run", "status", "steps", *measured, "time")
    for row in comparison.figures:
        steps = f"{row.steps}/{row.planned}" if row.planned else str(row.steps)
        cells = _stage_cells(row) if of_stages else _cells(row)
        figures.add_row(row.label, row.status, steps, *cells, _or_dash(row.seconds, duration))
    parts: list[RenderableType] = [figures]
    for row in comparison.figures:
        parts += [Text(f"{row.folder}: {text}", "yellow") for text in row.damage]
    if comparison.differences:
        differences = _table("configuration", *comparison.labels)
        for key, values in comparison.differences:
            differences.add_row(key, *("-" if value is None else value for value in values))
        parts.append(differences)
    else:
        parts.append(Text("The configurations are the same.", "dim"))
    return Group(*parts, *(_sentence(change, comparison.labels[0]) for change in comparison.changes))


def _cells(row: RunFigures) -> tuple[str, str, str]:
    rates = (_or_dash(rate, percent) for rate in (row.pass_rate_before, row.pass_rate_after))
    return " → ".join(rates), _or_dash(row.reward, short), _or_dash(row.samples_per_second, short)


def _stage_cells(row: RunFigures) -> tuple[str, str, str]:
    losses = (_or_dash(loss, "{:.3f}".format) for loss in (row.held_out_loss_before, row.held_out_loss_after))
    return " → ".join(losses), _or_dash(row.loss, short), _or_dash(row.tokens_per_second, count)


def changes_in_words(change: TaskChanges, first: str) -> str:
    """Write one sentence about a run's held-out tasks against those of ``first``."""
    if not change.shared:
        return f"{change.label} and {first} share no held-out task whose program is kept."
    text = (
        f"Of {change.shared} held-out tasks that both have, {change.label} passes {len(change.gained)} "
        f"that {first} does not, and fails {len(change.lost)} that {first} passes."
    )
    if change.chance is None or not (change.gained or change.lost):
        return text
    odds = "less than one in a thousand" if change.chance < 0.001 else f"{change.chance:.2g}"
    return f"{text} The chance of so uneven a split between equally good models is {odds}."


def _sentence(change: TaskChanges, first: str) -> Text:
    return Text(changes_in_words(change, first))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "-" if value is None else write(value)
