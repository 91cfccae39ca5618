"""``couplet bench loop``: what overlap of rollouts and training brings, and what it costs in staleness."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks import loop as measurement
from benchmarks.contention import slowdown
from benchmarks.measure import describe, headline
from orchestrator.commands.new_folder import new_folder
from orchestrator.commands.recipes import shipped_recipe

_BALANCES = ("balanced", "learner-bound", "rollout-bound")


@click.command()
@click.option(
    "--steps",
    default=15,
    show_default=True,
    type=click.IntRange(min=5),
    help="Measured steps of each run.",
)
@click.option(
    "--balance",
    "balances",
    multiple=True,
    type=click.Choice(_BALANCES),
    help="Whose work takes longer: neither's, the learner's or the rollouts'. May be repeated [default: all].",
)
@click.option(
    "--processes",
    multiple=True,
    type=click.IntRange(min=1),
    help="How many rollout workers there are, and learner ranks. May be repeated [default: 1 and 2].",
)
@click.option(
    "--staleness",
    "bounds",
    multiple=True,
    type=click.IntRange(min=0),
    help="Values of admission.max_staleness. May be repeated [default: 0, 1 and 2].",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for the runs and loop.json [default: runs/bench-loop-<time>].",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def loop(
    steps: int,
    balances: tuple[str, ...],
    processes: tuple[int, ...],
    bounds: tuple[int, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure what overlap of rollouts and training brings.

    Makes runs of small steps with several max_staleness, as many rollout workers as learner ranks, and rollouts
    that take as long as updates, less or longer; and one run in which one group in 80 takes ten steps' time to
    be scored. Says first how far two processes slow each other down on this machine, which no overlap can undo.
    The default is 19 runs, of one to two minutes each on two cores.
    """
    console = Console()
    folder = new_folder(output, "bench-loop")
    folder.mkdir(parents=True)
    console.print(headline(describe(torch.device("cpu"))))
    factor = slowdown(2)
    console.print(f"two processes that compute at once take {factor:.2f} times as long as one alone")
    wanted = list(measurement.cases(balances or _BALANCES, processes or (1, 2), bounds or (0, 1, 2)))

    def starting(case: measurement.Case) -> None:
        status.update(f"{case.name}: a run of {steps} steps and those before them")

    def done(one: measurement.Measured) -> None:
        console.print(f"{one.case.name}: {one.samples_per_second:.1f} samples/s, staleness {one.staleness:.2f}")

    with console.status("starting") as status:
        found = measurement.run(wanted, steps, shipped_recipe("quickstart"), folder, starting, done)
    console.print(measurement.view(found))
    record = {"slowdown": factor, **measurement.as_json(found)}
    (folder / "loop.json").write_text(json.dumps(record, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(record))
