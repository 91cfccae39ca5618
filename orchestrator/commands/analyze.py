"""``couplet analyze FOLDER [OTHER]``: how a model decodes, from the samples of its evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, Progress

from common.errors import UserError
from evaluation.analysis.recorded import RecordedEvaluation, read_evaluation
from evaluation.analysis.side import Side
from orchestrator.commands.evaluate.several import several
from orchestrator.report.analysis.tables import Table
from orchestrator.report.analysis.terminal import analysis_view, gap_lines
from orchestrator.report.analysis.write import Written, write_analysis
from orchestrator.report.text import clean

_KS = (1, 2, 4, 8, 16)
_COLUMNS = (*Progress.get_default_columns(), DownloadColumn())


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of page, figures and tables [default: analysis, in the first evaluation's folder].",
)
@several(
    "--k",
    "ks",
    of=click.IntRange(min=1),
    metavar="K,...",
    help=f"Compute AR-ness at these k [default: {','.join(map(str, _KS))}].",
)
@click.option(
    "--task", "task_id", metavar="ID", help="Show the program of this task [default: of the first that passed]."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="Name of the model in a folder, given once for each folder in their order: --label before --label after "
    "[default: the folder's name].",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def evaluation(
    folder: Path,
    other: Path | None,
    output: Path | None,
    ks: tuple[int, ...],
    task_id: str | None,
    labels: tuple[str, ...],
    as_json: bool,
) -> None:
    """Analyze what `couplet evaluate` left, of one model or two.

    Shows the order in which tokens were written, as local and global AR-ness, Kendall's tau and average
    first-passage, by temperature and beside pass@k. Shows also the confidence at each position at the first
    steps (if couplet evaluate --confidence recorded it), what fewer denoising steps cost, and which temperature
    is best. Two folders, such as those of a model before and after reinforcement learning, are shown side by
    side.

    The output folder gets analysis.html, which is one file and loads nothing, figures/ as SVG and PNG, tables/ as
    CSV and Markdown, and a page that plays how one program was written. If the evaluation lacks what a figure
    needs, the page says so and gives the command that supplies it.
    """
    folders = [folder, *([] if other is None else [other])]
    evaluations = [
        read_evaluation(path, label) for path, label in zip(folders, _labels(folders, labels), strict=True)
    ]
    ks = tuple(sorted({*ks} or {*_KS}))
    sides, written = _analyzed(evaluations, ks, output or folder / "analysis", task_id)
    Console().print(analysis_view(written))
    for line in gap_lines(written):
        click.echo(line, err=True)
    if written.note:
        click.echo(f"note: {written.note}", err=True)
    click.echo(written.page)
    if as_json:
        click.echo(json.dumps(_record(sides, written)))


def _labels(folders: Sequence[Path], given: Sequence[str]) -> list[str]:
    """Name the folders apart, fit to be shown. Raises UserError for other names than one for each."""
    given = [clean(name) for name in given]
    if given and (len(given) != len(folders) or len(set(given)) != len(given)):
        raise UserError(f"--label: give {len(folders)} different ones, one for each folder, or none")
    names = [clean(path.resolve().name) for path in folders]
    apart = names if len(set(names)) == len(names) else [clean(path) for path in folders]
    if len(set(apart)) < len(apart):
        raise UserError(f"{folders[0]}: is given twice; name another folder, or leave it out")
    return list(given or apart)


def _analyzed(
    evaluations: Sequence[RecordedEvaluation], ks: tuple[int, ...], output: Path, task_id: str | None
) -> tuple[list[Side], Written]:
    """Measure and write, with a bar of the bytes that are read, and then a line of what is written."""
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        sides = []
        for one in evaluations:
            line = bar.add_task(escape(one.label), total=one.samples_size)
            sides.append(Side.of(one, ks, lambda size, line=line: bar.advance(line, size)))  # type: ignore[misc]
        writing = bar.add_task("writing", total=None)
        try:
            written = write_analysis(
                sides,
                output,
                task_id,
                lambda what: bar.update(writing, description=escape(f"writing {what}")),
            )
        except OSError as error:
            raise UserError(f"--output {output}: cannot be written: {error}; name another folder") from error
        bar.remove_task(writing)
    return sides, written


def _record(sides: Sequence[Side], written: Written) -> dict[str, object]:
    """The tables of every chapter, and what is missing."""
    return {
        "page": str(written.page),
        "models": [side.label for side in sides],
        "chapters": [
            {
                "title": one.title,
                "tables": {table.name: _rows(table) for part in one.sections for table in part.tables},
                "missing": [gap.what for part in one.sections for gap in part.missing],
            }
            for one in written.chapters
        ],
    }


def _rows(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]


def _plain(cell: object) -> object:
    value = getattr(cell, "value", None)
    return cell if value is None else value
