"""The command line: try the bugs, and show what became of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from tests.mutations.bugs import BUGS
from tests.mutations.runner import ROOT, MisfitError, Result, scratch_clone

_RESULTS = ROOT / "mutations.jsonl"
#: Characters of a test's name: a parameter may be long.
_SHOWN = 120


@click.group()
def main() -> None:
    """Seed bugs, and see whether the tests catch them."""


@main.command()
@click.argument("names", nargs=-1)
@click.option(
    "--results", type=click.Path(path_type=Path), default=_RESULTS, help="A file of JSON lines to add to."
)
@click.option("--deadline", default=600.0, help="Seconds for a run of tests.")
@click.option("--control/--no-control", default=True, help="Run the tests first without any bug.")
@click.option("--check", is_flag=True, help="Only see whether every bug fits the source and the tests.")
def run(names: tuple[str, ...], results: Path, deadline: float, control: bool, check: bool) -> None:
    """Try the bugs of these NAMES, or all that have no result yet."""
    unknown = set(names) - {bug.name for bug in BUGS}
    if unknown:
        raise click.UsageError(f"no such bug: {', '.join(sorted(unknown))}")
    tried = _read(results)
    chosen = [bug for bug in BUGS if (bug.name in names if names else bug.name not in tried)]
    try:
        with scratch_clone(deadline) as scratch:
            for bug in BUGS:
                scratch.check(bug)
            if check:
                return
            if control and chosen:
                scratch.control(chosen)
            for bug in chosen:
                result = scratch.attempt(bug)
                with results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
                click.echo(f"{result.verdict:8} {result.seconds:6.1f} s  {bug.name}  {result.by}")
    except MisfitError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("results", nargs=-1, type=click.Path(exists=True, path_type=Path))
def table(results: tuple[Path, ...]) -> None:
    """Print RESULTS as a Markdown table; several files, such as an old and a new suite's, side by side."""
    columns = [(path.stem, _read(path)) for path in results or (_RESULTS,)]
    click.echo("| bug | promise | " + " | ".join(name for name, _ in columns) + " |")
    click.echo("|---" * (2 + len(columns)) + "|")
    for bug in BUGS:
        found = [column.get(bug.name, Result(bug.name, "not tried")) for _, column in columns]
        cells = [f"{result.verdict} {result.by[:_SHOWN]}".strip().replace("|", "\\|") for result in found]
        click.echo(f"| {bug.name} | {bug.promise} | " + " | ".join(cells) + " |")
    for name, column in columns:
        tried = [column[bug.name] for bug in BUGS if bug.name in column]
        caught = sum(result.verdict != "survived" for result in tried)
        click.echo(f"\n{name}: {caught} of {len(tried)} caught.")


def _read(results: Path) -> dict[str, Result]:
    """The last result of each bug."""
    lines = results.read_text().splitlines() if results.exists() else ()
    return {result.name: result for result in (Result(**json.loads(line)) for line in lines)}


main()
