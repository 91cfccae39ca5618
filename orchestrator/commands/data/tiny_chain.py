"""``couplet data tiny-chain``: what the recipes of the tiny chain start from."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from common.errors import UserError
from learner.warm_start.causal import CausalModel, make_causal_model, standard_library_modules
from learner.warm_start.synthetic import generate
from orchestrator.commands.numbers import SEED

#: Where the recipes of the chain look.
_DEFAULT = Path("runs/tiny-chain")


@click.command("tiny-chain")
@click.argument("folder", type=click.Path(path_type=Path), default=_DEFAULT)
@click.option(
    "--steps", default=CausalModel.steps, show_default=True, type=click.IntRange(min=1), help="Of training."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Keys the tasks and every random number.")
def tiny_chain(folder: Path, steps: int, seed: int) -> None:
    """Make a small causal model and examples for the recipes of the tiny chain.

    FOLDER, by default the one that the recipes read, gets `causal/`, a model of a million parameters trained for
    seconds on the Python standard library, and `solutions.jsonl`, the training tasks of the quick start with their
    solutions. Nothing is downloaded.
    """
    torch.set_num_threads(1)  # matrices this small do not share well
    tasks = generate(seed, train=2000, held_out=200).train
    rows = [json.dumps({"prompt": each.task.prompt, "answer": each.reference}) for each in tasks]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "solutions.jsonl").write_text("\n".join([*rows, ""]), encoding="utf-8")
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("predicting the next token", total=steps)

            def advance(step: int, loss: float) -> None:
                bar.update(task, completed=step, description=f"predicting the next token, loss {loss:.3f}")

            texts = list(standard_library_modules())
            make_causal_model(texts, folder / "causal", CausalModel(seed=seed, steps=steps), advance)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error}; name another folder") from error
    click.echo(folder)
    if folder == _DEFAULT:
        click.echo("next: couplet adapt tiny_chain/adapt", err=True)
    else:
        click.echo(
            f"next: couplet adapt tiny_chain/adapt model.path={shlex.quote(str(folder / 'causal'))}", err=True
        )
