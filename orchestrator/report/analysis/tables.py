"""The tables of an analysis: on its page, and as CSV and Markdown files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.analysis.choices import choose_temperature, compare_steps
from evaluation.analysis.estimates import Estimate, estimate, estimate_difference
from evaluation.analysis.measures import CONFIDENCE, EXECUTED, TEXT, VARIANCE, Measured
from evaluation.analysis.side import Side, Topic, pass_ks
from orchestrator.report.chart_numbers import percent
from orchestrator.report.page import replace_text

Cell = str | int | float | Estimate | None


@dataclass(frozen=True)
class Table:
    """Rows of cells. ``columns`` name them, and ``caption`` says how to read them."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def as_csv(self) -> str:
        """Write with all digits; an estimate takes three columns, its interval after it."""
        wide = [any(isinstance(row[i], Estimate) for row in self.rows) for i in range(len(self.columns))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = (
            [name, f"{name} low", f"{name} high"] if w else [name]
            for name, w in zip(self.columns, wide, strict=True)
        )
        writer.writerow([name for head in heads for name in head])
        for row in self.rows:
            writer.writerow([value for cell, w in zip(row, wide, strict=True) for value in _values(cell, w)])
        return text.getvalue()

    def as_markdown(self) -> str:
        """Write as people read it, under its title."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([shown(cell) for cell in row]) for row in self.rows]
        return "\n".join([f"## {self.title}", "", self.caption, "", *lines, ""])


def shown(cell: Cell) -> str:
    """Write a cell in few characters."""
    if cell is None:
        return "–"
    if isinstance(cell, Estimate):
        around = "" if cell.low is None or cell.high is None else f" ({cell.low:.3f} to {cell.high:.3f})"
        return f"{cell.value:.3f}{around}"
    return cell if isinstance(cell, str) else f"{cell:.4g}"


def _line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    escaped = (" ".join(text.replace("|", "\\|").split()) for text in cells)
    return f"| {' | '.join(escaped)} |"


def _values(cell: Cell, wide: bool) -> list[str | int | float]:
    if isinstance(cell, Estimate):
        return ["" if value is None else value for value in (cell.value, cell.low, cell.high)]
    return ["" if cell is None else cell, *([""] * (2 if wide else 0))]


def settings_table(sides: Sequence[Side], topic: Topic) -> Table:
    """All measures of every setting."""
    measured = [(side, one) for side in sides for one in side.settings(topic)]
    ks = pass_ks([one for _, one in measured])
    orders = [
        *(f"{kind}@{k}" for kind in ("global", "local") for k in sides[0].ks),
        *("tau", "tied_pairs", "first_passage"),
    ]
    names = [*(f"{of}{name}" for of in (TEXT, EXECUTED) for name in orders), CONFIDENCE, VARIANCE]
    return Table(
        name="settings",
        title="Every measure at every setting",
        caption="Means over tasks with 95 % bootstrap intervals. Names that begin with executed_ are of all "
        "commits, those behind the end of the text included; the others are of the text.",
        columns=(
            "model",
            "temperature",
            "steps",
            "tasks",
            "samples",
            "excluded",
            *(f"pass@{k}" for k in ks),
            *names,
            "tokens/pass",
            "ended",
        ),
        rows=tuple(
            (
                side.label,
                one.setting.temperature,
                one.setting.steps,
                len(one.verdicts),
                one.samples,
                one.excluded,
                *(estimate(one.pass_at(k)) for k in ks),
                *(estimate(one.by_task(name)) for name in names),
                one.tokens_per_forward,
                one.ended / one.samples,
            )
            for side, one in measured
        ),
    )


def temperature_table(sides: Sequence[Side], topic: Topic) -> Table:
    """Which temperature is best, by pass@1 and by pass@k of the most samples; of models with several alone."""
    rows: list[tuple[Cell, ...]] = []
    for side in sides:
        measured = side.by_temperature(topic)
        for k in pass_ks(measured) if len(measured) > 1 else ():
            choice = choose_temperature(measured, k)
            for row in choice.rows if choice else ():
                best = "best" if choice and row is choice.best else ""
                rows.append((side.label, f"pass@{k}", row.temperature, row.rate, percent(row.share_best), best))
    return Table(
        name="temperatures",
        title="Optimal temperature",
        caption="The tasks are the same at every temperature. The column 'highest in' is the share of 2,000 "
        "bootstrap resamples of the tasks in which this temperature has the highest rate. Where two temperatures "
        "have large shares, these tasks do not tell which is better.",
        columns=("model", "rate of", "temperature", "rate", "highest in", ""),
        rows=tuple(rows),
    )


def steps_table(sides: Sequence[Side], topic: Topic) -> Table:
    """What fewer steps cost, and, of two models, whether it became less."""
    rows: list[tuple[Cell, ...]] = []
    for side in sides:
        for temperature, measured in side.by_steps(topic).items():
            rows += [
                (side.label, temperature, row.steps, row.rate, row.loss, row.tokens_per_forward)
                for row in compare_steps(measured, 1)
            ]
    rows += _changes(sides, topic)
    return Table(
        name="steps",
        title="Fewer denoising steps",
        caption="The loss is pass@1 with the most steps minus pass@1 with these steps, on the same tasks. For two "
        "models the last rows have the loss of the second minus that of the first: below 0 the second loses less.",
        columns=("model", "temperature", "steps", "pass@1", "loss", "tokens/pass"),
        rows=tuple(rows),
    )


def first_steps_table(sides: Sequence[Side], topic: Topic) -> Table:
    """Confidence and entropy of every position at every step that is recorded."""
    rows: list[tuple[Cell, ...]] = []
    for side in sides:
        found = side.first_steps(topic)
        for step in found.steps if found else ():
            of_position = zip(step.masked, step.mean, step.variance, step.entropy, strict=True)
            rows += [(side.label, step.step + 1, place, *values) for place, values in enumerate(of_position)]
    return Table(
        name="first-steps",
        title="Confidence by position at the first steps",
        caption="Steps count from 1 and positions from 0. The column 'masked' is the number of completions in "
        "which the position is still masked.",
        columns=("model", "step", "position", "masked", "confidence", "variance", "entropy"),
        rows=tuple(rows),
    )


def _changes(sides: Sequence[Side], topic: Topic) -> Iterator[tuple[Cell, ...]]:
    """The losses of the second model less those of the first, task by task."""
    if len(sides) < 2:
        return
    first, second = (side.by_steps(topic) for side in sides)
    for temperature in sorted(set(first) & set(second)):
        losses = [_losses(one[temperature]) for one in (first, second)]
        for steps in sorted(set(losses[0]) & set(losses[1]), reverse=True):
            change = estimate_difference(losses[1][steps], losses[0][steps])
            label = f"{sides[1].label} minus {sides[0].label}"
            yield label, temperature, steps, None, change, None


def _losses(measured: Sequence[Measured]) -> dict[int, dict[int, float]]:
    """By number of steps, what pass@1 of each task is below that with the most steps."""
    ordered = sorted(measured, key=lambda one: one.setting.steps or 0, reverse=True)
    most = ordered[0].pass_at(1)
    return {
        one.setting.steps or 0: {
            index: most[index] - rate for index, rate in one.pass_at(1).items() if index in most
        }
        for one in ordered[1:]
    }


def write_tables(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """Write every table that has rows as NAME.csv and NAME.md, and return the paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        replace_text(folder / f"{table.name}.{kind}", text)
        for table in tables
        if table.rows
        for kind, text in (("csv", table.as_csv()), ("md", table.as_markdown()))
    ]
