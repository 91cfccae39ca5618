"""The end of a run in the terminal: pass rates, programs before and after, and where to look next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from orchestrator.report.chart_numbers import short
from orchestrator.report.display import duration
from orchestrator.report.text import clean, one_line, program
from orchestrator.report.verdicts import changed, families

_LINES = 20
_NOTE_LENGTH = 300


def summary_view(
    before: Mapping[str, Any], after: Mapping[str, Any], summary: Mapping[str, Any], report: Path
) -> RenderableType:
    """Show the end of a run: pass rates, three programs that pass now and did not, times, the report's path.

    ``before`` and ``after`` are records of ``evaluations.jsonl``; either may be empty.
    """
    gained, lost = changed(before, after, passes=True), changed(before, after, passes=False)
    parts: list[RenderableType] = ["", _headline(before, after, summary)]
    if before and after:
        parts += ["", _family_table(before, after), ""]
        parts.append(Text(f"{len(gained)} programs newly pass, {len(lost)} no longer do.", "dim"))
        parts += [_Pair(old, new) for old, new in gained[:3]]
    seconds = summary.get("seconds")
    phases = seconds.items() if isinstance(seconds, Mapping) else ()
    times = "  ".join(f"{clean(name)} {duration(value)}" for name, value in phases)
    counts = f"{summary.get('updates', '?')} steps  {summary.get('samples', '?')} samples"
    if isinstance(summary.get("samples_per_second"), int | float):
        counts += f"  {short(summary['samples_per_second'])} samples/s"
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in (("run", counts), ("time", times), *note_rows(summary), ("report", str(report))):
        table.add_row(Text(name, "dim"), Text(text, overflow="fold"))
    return Group(*parts, "", table)


def note_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows with the first notes of a run, and how many more its report has."""
    notes = summary.get("notes")
    first = notes.get("first", []) if isinstance(notes, Mapping) else []
    rows = [("" if place else "notes", one_line(text, _NOTE_LENGTH)) for place, text in enumerate(first)]
    more = notes["count"] - len(first) if isinstance(notes, Mapping) and first else 0
    return [*rows, ("", f"{more} more in the report")] if more else rows


def status_badge(summary: Mapping[str, Any]) -> Text:
    """Return how a run ended, in colour, with room for what follows."""
    status = clean(summary.get("status", "incomplete"))
    return Text.assemble((f" {status} ", "black on green" if status == "finished" else "black on yellow"), "  ")


def _headline(before: Mapping[str, Any], after: Mapping[str, Any], summary: Mapping[str, Any]) -> Text:
    text = status_badge(summary)
    if before and after:
        gain = (after["pass_rate"] - before["pass_rate"]) * 100
        text.append(f"held-out pass rate {before['pass_rate']:.1%} → ").append(f"{after['pass_rate']:.1%}", "bold")
        text.append(f"  ({gain:+.1f} points", "green" if gain > 0 else "red")
        return text.append(f", {after.get('tasks', '?')} tasks)")
    if before:
        return text.append(f"held-out pass rate {before['pass_rate']:.1%}; no evaluation after training")
    return text.append("no held-out evaluation")


def _family_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("family", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column(Text.assemble("█ before ", ("▓ gained ", "green"), ("░ lost", "red")), ratio=1)
    for name in ("tasks", "before", "after", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, tasks, old, new in families(before, after):
        later = old if new is None else new
        kept, change = round(min(old, later) * 30), round(max(old, later) * 30) - round(min(old, later) * 30)
        bar = Text("█" * kept, "bright_black", no_wrap=True, overflow="crop")
        bar.append(("▓" if later > old else "░") * change, "green" if later > old else "red")
        points = Text("-" if new is None else f"{(new - old) * 100:+.1f}", "green" if later > old else "red")
        table.add_row(Text(name), bar, str(tasks), f"{old:.1%}", "-" if new is None else f"{new:.1%}", points)
    return table


class _Pair:
    """A task's programs before and after: side by side where there is room for that."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._before, self._after = before, after

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"\n{clean(self._after.get('family', ''))}  {clean(self._after.get('task_id', ''))}", "bold")
        panels = (
            _code_panel("before: failed", self._before, "red"),
            _code_panel("after: passed", self._after, "green"),
        )
        if options.max_width < 110:
            yield from panels
            return
        columns = Table.grid(expand=True, padding=(0, 1, 0, 0))
        columns.add_column(ratio=1)
        columns.add_column(ratio=1)
        columns.add_row(*panels)
        yield columns


def _code_panel(title: str, record: Mapping[str, Any], colour: str) -> Panel:
    lines = program(record).split("\n")
    if len(lines) > _LINES:
        lines[_LINES:] = [f"# … {len(lines) - _LINES} more lines"]
    code = Syntax("\n".join(lines), "python", theme="ansi_dark", background_color="default", word_wrap=True)
    return Panel(code, title=Text(title, colour), title_align="left", border_style=colour, box=box.ROUNDED)
