"""The end of a stage's run in the terminal: held-out loss before and after, and what to do with the model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.config import Stage
from orchestrator.report.chart_numbers import count, short
from orchestrator.report.display import duration
from orchestrator.report.display_content import losses_by_ratio
from orchestrator.report.summary import note_rows, status_badge
from orchestrator.report.text import clean

#: The command of the stage after each.
NEXT_STAGE: dict[Stage, str] = {"adapt": "pretrain", "pretrain": "sft", "sft": "train"}


def stage_summary_view(
    stage: Stage,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    summary: Mapping[str, Any],
    report: Path,
    next_recipe: str | None = None,
) -> RenderableType:
    """Show the end of a stage: held-out loss by ratio, tokens, epochs, times, the model, and the next command.

    ``before`` and ``after`` are records of ``evaluations.jsonl``; either may be empty. ``summary`` is
    ``summary.json``; what it does not have is left out. ``next_recipe`` is the recipe of the next command,
    where there is one.
    """
    parts: list[RenderableType] = ["", _headline(before, after, summary)]
    if losses_by_ratio(_figures(before)):
        parts += ["", _loss_table(_figures(before), _figures(after))]
    table = Table.grid(padding=(0, 2, 0, 0))
    model = summary.get("model")
    following = (
        f"couplet {NEXT_STAGE[stage]} {next_recipe or 'RECIPE'} model.path={shlex.quote(model)}" if model else ""
    )
    for name, text in (*_facts(summary), *note_rows(summary), ("report", str(report)), ("next", following)):
        if text:
            table.add_row(Text(name, "dim"), Text(clean(text), overflow="fold"))
    return Group(*parts, "", table)


def _headline(before: Mapping[str, Any], after: Mapping[str, Any], summary: Mapping[str, Any]) -> Text:
    text = status_badge(summary)
    old, new = before.get("held_out/loss"), after.get("held_out/loss")
    if old is None:
        return text.append("no held-out evaluation")
    if new is None:
        return text.append(f"held-out loss {short(old)}; no evaluation after training")
    text.append(f"held-out loss {short(old)} → ").append(short(new), "bold")
    return text.append(f"  ({new - old:+.3g} nats a token)", "green" if new < old else "red")


def _loss_table(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("masked", no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    later = losses_by_ratio(after)
    for ratio, old in losses_by_ratio(before).items():
        new = later.get(ratio)
        change = Text("-") if new is None else Text(f"{new - old:+.3f}", "green" if new < old else "red")
        table.add_row(f"{float(ratio):.0%}", f"{old:.3f}", "-" if new is None else f"{new:.3f}", change)
    return table


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = [f"{summary.get('updates', '?')} steps"]
    for key, unit in (("tokens", "tokens"), ("epochs", "epochs"), ("tokens_per_second", "tokens/s")):
        if isinstance(summary.get(key), int | float):
            counts.append(f"{count(summary[key])} {unit}")
    seconds = summary.get("seconds")
    phases = seconds.items() if isinstance(seconds, Mapping) else ()
    times = "  ".join(f"{name} {duration(value)}" for name, value in phases)
    return [("run", "  ".join(counts)), ("time", times), ("model", str(summary.get("model") or ""))]


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in record.items() if isinstance(value, int | float)}
