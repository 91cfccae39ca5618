"""``couplet bench streams``: groups per second through Redis Streams, and what a long backlog costs."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import streams as measuring


def _counts(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of numbers with commas between them.")
    return tuple(sorted(map(int, parts)))


@click.command()
@click.option(
    "--producers", default=1000, show_default=True, type=click.IntRange(1, 4000), help="Simulated rollout workers."
)
@click.option(
    "--groups",
    default=20_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Groups that they complete in all.",
)
@click.option(
    "--backlogs",
    default="0,1000,10000,100000",
    show_default=True,
    callback=_counts,
    help="Messages that wait in a stream, case by case.",
)
@click.option(
    "--completions", default=8, show_default=True, type=click.IntRange(min=1), help="Completions of a group."
)
@click.option(
    "--tokens", default=64, show_default=True, type=click.IntRange(min=8), help="Tokens of a completion."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def streams(
    producers: int, groups: int, backlogs: tuple[int, ...], completions: int, tokens: int, as_json: bool
) -> None:
    """Count groups per second through a run's streams, and time them with a backlog.

    Simulated workers, each with a connection of its own, take prompts and publish completed groups on an embedded
    Redis; a backlog of 100,000 groups takes about 1.5 GB of memory at the default size.
    """
    settings = measuring.StreamsBenchSettings(producers, groups, backlogs, completions, tokens)
    console = Console()
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=measuring.stages(settings))
        throughput, costs = measuring.run(settings, lambda stage: bar.update(task, advance=1, description=stage))
    for table in measuring.view(settings, throughput, costs):
        console.print(table)
    if as_json:
        click.echo(json.dumps(measuring.as_json(settings, throughput, costs)))
