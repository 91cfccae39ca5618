"""``couplet report``: the page of one run, or several runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from common.errors import UserError
from orchestrator.report.compare import compare
from orchestrator.report.compare_page import write_comparison
from orchestrator.report.compare_view import comparison_view
from orchestrator.report.figure import write_figure
from orchestrator.report.report_page import write_report

_DEFAULT = Path("compare.html")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN…]", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes [default: report.html in the run's folder; of several runs compare.html, here].",
)
@click.option(
    "--figure",
    metavar="METRIC=FILE",
    help="Draw one metric of all runs into an SVG file, such as held_out/loss=loss.svg, in place of a page.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def report(runs: tuple[Path, ...], out: Path | None, figure: str | None, as_json: bool) -> None:
    """Write the HTML report of a run, or compare several runs.

    A RUN is a run's folder; the run may be finished, going on, or killed. Each page is one file that loads nothing
    else.
    """
    try:
        found = compare(runs)
        if figure is not None:
            metric, _, file = figure.partition("=")
            if not file:
                raise UserError(f"--figure {figure}: write it as METRIC=FILE, such as held_out/loss=loss.svg")
            page = write_figure(found, metric, Path(file))
        elif len(runs) == 1:
            page = write_report(runs[0], out)
        else:
            page = write_comparison(found, out or _DEFAULT)
    except OSError as error:
        raise UserError(f"the page cannot be written: {error}; choose another place with --out") from error
    if as_json:
        record: dict[str, Any] = {"page": str(page), **found.as_record()}
        click.echo(json.dumps(record))
        return
    if len(runs) > 1:
        Console().print(comparison_view(found))
    for text in found.figures[0].damage if len(runs) == 1 else ():
        click.echo(f"{runs[0]}: {text}", err=True)
    click.echo(page)
