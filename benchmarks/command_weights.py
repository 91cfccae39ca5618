"""``couplet bench weights``: new weights on their way from one Ray actor to others."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks import measure
from benchmarks import weights as comparison
from benchmarks.command_options import DTYPES


@click.command()
@click.option(
    "--mib", default=1024, show_default=True, type=click.IntRange(min=1), help="MiB of weights to publish."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Actors that load them.")
@click.option(
    "--transport",
    type=click.Choice((*comparison.TRANSPORTS, "all")),
    default="all",
    show_default=True,
    help="How they get there.",
)
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Of the weights.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(min=1), help="Timed updates.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def weights(mib: int, workers: int, transport: str, dtype: str, repeats: int, as_json: bool) -> None:
    """Time new weights on their way between Ray actors.

    One actor publishes, the others load, in turns with a plain copy of as many bytes. On this machine only, with a
    Ray of its own. The defaults take about 8 GiB of memory.
    """
    settings = comparison.Settings(mib, workers, dtype, repeats)
    transports = tuple(t for t in comparison.TRANSPORTS if transport in (t, "all"))
    machine = measure.describe(torch.device("cpu"))
    with Progress(console=Console(stderr=True)) as bar, TemporaryDirectory() as folder:
        stages = comparison.STAGES + len(transports) * (comparison.TRANSPORT_STAGES + repeats)
        task = bar.add_task("", total=stages)
        result = comparison.run(
            settings, transports, Path(folder), lambda stage: bar.update(task, advance=1, description=stage)
        )
    Console().print(comparison.view(machine, settings, result))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, settings, result)))
