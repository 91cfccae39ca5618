"""``couplet data acecode``: the tasks of AceCode that DiffuCoder was trained on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from common.tasks.difficulty import MODELS, SPLITS, Split, split_by_difficulty
from common.tasks.rephrasing import with_rephrased
from common.tasks.rows import read_rows
from common.tasks.writing import check_writable, write_rows
from orchestrator.commands.data.facts import facts_table
from orchestrator.commands.numbers import FiniteRange

_PERCENTILE = FiniteRange(0, 100)
_FIGURES = ("rows", "mean_at_least", "mean_at_most", "std_at_least", "too_hard", "too_easy", "too_even")


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--difficulty", default="hard", show_default=True, type=click.Choice(list(SPLITS)), help="Which rows to keep."
)
@click.option(
    "--rephrase",
    is_flag=True,
    help="After a row, write it once more as a function to complete, where its question and answers allow.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Whose pass rates count; may be repeated [default: the paper's two].",
)
@click.option("--mean-percentile", type=_PERCENTILE, help="Of hard: mean pass rate at most this [default: 20].")
@click.option("--std-percentile", type=_PERCENTILE, help="Of hard: its deviation at least this [default: 40].")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def acecode(
    source: Path,
    target: Path,
    difficulty: str,
    rephrase: bool,
    models: tuple[str, ...],
    mean_percentile: float | None,
    std_percentile: float | None,
    as_json: bool,
) -> None:
    """Select a split of AceCode by difficulty.

    DiffuCoder was trained on the hard one, with --rephrase. Reads INPUT and writes OUTPUT, without the column
    `inferences`, which the selection goes by; percentiles are of all rows. Both files are JSON lines, gzip if
    named .gz, or Parquet if named .parquet.
    """
    check_writable(target)
    changed = {"mean_to": mean_percentile, "std_from": std_percentile}
    given = {name: value for name, value in changed.items() if value is not None}
    if any(map(math.isnan, given.values())):
        raise click.UsageError("--mean-percentile and --std-percentile are numbers from 0 to 100")
    if given and difficulty != "hard":
        raise click.UsageError(
            f"--mean-percentile and --std-percentile bound the hard split; leave them out with {difficulty}"
        )
    counted = models or MODELS
    split = split_by_difficulty(read_rows(source), replace(SPLITS[difficulty], **given), models=counted)
    found = [fields for row in split.kept for fields in (with_rephrased(row) if rephrase else [row.fields])]
    write_rows(target, [_without_inferences(fields) for fields in found])
    Console().print(_split_view(split, difficulty, counted, len(found), target))
    if as_json:
        record = {
            "data": "acecode",
            "input": str(source),
            "output": str(target),
            "difficulty": difficulty,
            "models": list(counted),
            **{name: getattr(split, name) for name in _FIGURES},
            "kept": len(split.kept),
            "rephrased": len(found) - len(split.kept),
            "written": len(found),
        }
        click.echo(json.dumps(record))


def _without_inferences(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "inferences"}


def _split_view(split: Split, difficulty: str, models: tuple[str, ...], written: int, target: Path) -> Table:
    bounds = (
        ("mean below", split.mean_at_least, split.too_hard),
        ("mean above", split.mean_at_most, split.too_easy),
        ("deviation below", split.std_at_least, split.too_even),
    )
    rephrased = written - len(split.kept)
    return facts_table(
        ("difficulty", difficulty),
        *([("pass rates of", ", ".join(models))] if difficulty != "all" else []),
        ("rows", f"{split.rows:,}"),
        *((f"{name} {bound:.4f}", f"-{count:,}") for name, bound, count in bounds if bound is not None),
        ("kept", f"{len(split.kept):,}"),
        *([("re-phrased", f"+{rephrased:,}")] if rephrased else []),
        ("written to", f"{target}, {written:,} rows"),
    )
