"""``couplet bench learn``: time, updates and samples until the quick start has learned."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
import torch

from benchmarks.learn import HEADER, RULE, reached
from benchmarks.measure import describe
from common.config import load_config
from orchestrator.commands.numbers import FiniteRange
from orchestrator.commands.recipes import shipped_recipe
from orchestrator.commands.running import run
from orchestrator.revision import code_revision


@click.command()
@click.option(
    "--target",
    default=0.9,
    show_default=True,
    type=FiniteRange(0, 1),
    help="The held-out pass rate to reach.",
)
@click.option(
    "--every", default=3, show_default=True, type=click.IntRange(min=1), help="Steps between evaluations."
)
@click.option(
    "--run-folder", type=click.Path(path_type=Path), help="Folder of the run [default: runs/learn-<time>]."
)
@click.option(
    "--of",
    "finished",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Train nothing: print the line of a run of the quick start that is in this folder.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of a live display.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.argument("overrides", nargs=-1)
def learn(
    target: float,
    every: int,
    run_folder: Path | None,
    finished: Path | None,
    plain: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Measure how soon the quick start reaches a held-out pass rate.

    Trains the quick start with evaluations every few steps, and prints the line of docs/leaderboard.md: seconds of
    training, updates and samples up to the first evaluation that reaches the rate. OVERRIDES are
    section.field=value, as for `couplet train`; the line names those that differ from the recipe. It takes about
    six minutes on two cores.
    """
    folder = finished or run_folder or Path("runs") / f"learn-{datetime.now():%Y%m%d-%H%M%S}"
    commit = "–"  # of a run that is there already, nobody knows
    if finished is None:
        commit = code_revision()
        settings = [f"run.folder={json.dumps(str(folder))}", f"evaluation.every_steps={every}", *overrides]
        run(load_config(shipped_recipe("quickstart"), settings), "never", plain, as_json=False)
    found = reached(folder, target)
    machine = describe(torch.device("cpu"))
    click.echo(f"{HEADER}\n{RULE}")
    click.echo(found.row(commit, f"{len(os.sched_getaffinity(0))} cores, {machine['cpu']}"))
    if as_json:
        click.echo(json.dumps({"target": target, "folder": str(folder), **asdict(found)}))
