"""``couplet warm-up``: how the quick start's starting model was made."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from learner.warm_start.synthetic import generate
from learner.warm_start.warm_up import WarmUp
from learner.warm_start.warm_up import warm_up as train_from_nothing
from orchestrator.commands.numbers import SEED


@click.command("warm-up")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", type=SEED, default=0, show_default=True, help="Keys the tasks and every random number.")
@click.option("--steps", default=1600, show_default=True, type=click.IntRange(min=1), help="Of training.")
def warm_up(folder: Path, seed: int, steps: int) -> None:
    """Train the quick start's weak starting model from nothing.

    The model goes into FOLDER. Takes minutes.
    """
    tasks = generate(seed, train=2000, held_out=200).train
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("supervised denoising on noisy solutions", total=steps)

        def advance(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"supervised denoising, loss {loss:.3f}")

        train_from_nothing(tasks, folder, WarmUp(seed=seed, steps=steps), advance)
