"""``couplet bench soak``: a run of tiny steps for a while, and whether anything of it grows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from benchmarks import run_soak
from orchestrator.commands.new_folder import new_folder
from orchestrator.commands.numbers import FiniteRange
from orchestrator.commands.recipes import shipped_recipe

_SETTINGS = (
    "run.steps=1000000",
    "data.train_tasks=2000",
    "data.held_out_tasks=4",
    "rollout.workers=1",
    "rollout.group_size=2",
    "rollout.denoising_steps=2",
    "learner.ranks=1",
    "learner.zero_stage=0",
    "learner.groups_per_step=1",
    "learner.checkpoint_steps=100",
    "admission.max_staleness=1",
    "admission.max_in_flight=4",
    "evaluation.every_steps=0",
    "ray.dashboard=false",
)


@click.command()
@click.option(
    "--minutes", default=30.0, show_default=True, type=FiniteRange(min=0.1), help="How long the run lasts."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for the run and soak.json [default: runs/bench-soak-<time>].",
)
@click.argument("overrides", nargs=-1)
def soak(minutes: float, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Watch a run of tiny steps for a while.

    Shows, for six stretches of the time, the memory, open files and CPU time a step of every kind of process, and
    the bytes that it writes into logs and records. What grows from stretch to stretch is a leak. OVERRIDES are
    section.field=value, as for `couplet train`.
    """
    console = Console()
    folder = new_folder(output, "bench-soak")
    folder.mkdir(parents=True)
    place = folder / "run"
    arguments = [str(shipped_recipe("quickstart")), *_SETTINGS, *overrides, f"run.folder={json.dumps(str(place))}"]

    def said(window: run_soak.Window) -> None:
        console.print(f"{window.steps} steps in {window.seconds:.0f} s")

    windows = run_soak.run(arguments, place, folder / "run.log", 60 * minutes, said)
    console.print(run_soak.view(windows))
    (folder / "soak.json").write_text(json.dumps([asdict(window) for window in windows], indent=2) + "\n")
