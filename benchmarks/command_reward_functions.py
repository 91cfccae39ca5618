"""``couplet bench reward-functions``: reward functions in a process of their own, beside plain calls."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import reward_functions as costs


@click.command("reward-functions")
@click.option(
    "--group-size", default=16, show_default=True, type=click.IntRange(min=1), help="Completions of a group."
)
@click.option(
    "--characters",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Characters of the prompt and of each completion.",
)
@click.option(
    "--rounds",
    default=300,
    show_default=True,
    type=click.IntRange(min=1),
    help="Groups that are timed in each way.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def reward_functions(group_size: int, characters: int, rounds: int, as_json: bool) -> None:
    """Time a cheap reward function in a process of its own, and in the process that asks."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("groups", total=rounds)
        cost = costs.run(group_size, characters, rounds, lambda: bar.advance(task))
    Console().print(costs.view(cost))
    if as_json:
        click.echo(json.dumps(costs.as_json(cost)))
