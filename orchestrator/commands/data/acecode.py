"""``couplet data acecode``: the tasks of AceCode that DiffuCoder was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from common.tasks.hard_split import MODELS, HardSplit, hard_split
from common.tasks.rows import read_rows
from common.tasks.writing import check_writable, write_rows
from orchestrator.commands.data.facts import facts_table

_PERCENTILE = click.FloatRange(0, 100)


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Whose pass rates count; may be repeated [default: the paper's two].",
)
@click.option(
    "--mean-percentile", default=20.0, show_default=True, type=_PERCENTILE, help="Mean pass rate at most this."
)
@click.option(
    "--std-percentile", default=40.0, show_default=True, type=_PERCENTILE, help="Its deviation at least this."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def acecode(
    source: Path,
    target: Path,
    models: tuple[str, ...],
    mean_percentile: float,
    std_percentile: float,
    as_json: bool,
) -> None:
    """Select the hard split of AceCode.

    DiffuCoder was trained on it. Reads INPUT and writes OUTPUT. Rows are kept as they are; percentiles are of all
    of them. Both files are JSON lines, gzip if named .gz, or Parquet if named .parquet.
    """
    check_writable(target)
    split = hard_split(
        read_rows(source),
        models=models or MODELS,
        mean_percentile=mean_percentile,
        std_percentile=std_percentile,
    )
    write_rows(target, [row.fields for row in split.kept])
    Console().print(_split_view(split, models or MODELS, target))
    if as_json:
        record = {
            "data": "acecode",
            "input": str(source),
            "output": str(target),
            "models": list(models or MODELS),
            "rows": split.rows,
            "kept": len(split.kept),
            "mean_at_most": split.mean_at_most,
            "std_at_least": split.std_at_least,
            "too_easy": split.too_easy,
            "too_even": split.too_even,
        }
        click.echo(json.dumps(record))


def _split_view(split: HardSplit, models: tuple[str, ...], target: Path) -> Table:
    return facts_table(
        ("pass rates of", ", ".join(models)),
        ("rows", f"{split.rows:,}"),
        (f"mean above {split.mean_at_most:.4f}", f"-{split.too_easy:,}"),
        (f"deviation below {split.std_at_least:.4f}", f"-{split.too_even:,}"),
        ("kept", f"{len(split.kept):,}"),
        ("written to", str(target)),
    )
