"""``couplet bench stages``: a step of each supervised stage beside a plain training loop."""

from __future__ import annotations

import json
import os

import click
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks import measure
from benchmarks import stages as comparison
from benchmarks.command_options import DTYPES, choose_device


@click.command()
@click.option("--vocab", default=32000, show_default=True, type=click.IntRange(min=16), help="Vocabulary.")
@click.option("--hidden", default=256, show_default=True, type=click.IntRange(min=64), help="Width of the model.")
@click.option("--layers", default=4, show_default=True, type=click.IntRange(min=1), help="Of the model.")
@click.option(
    "--context", default=512, show_default=True, type=click.IntRange(min=8), help="Tokens of a sequence."
)
@click.option("--sequences", default=8, show_default=True, type=click.IntRange(min=1), help="Of a step.")
@click.option(
    "--batch-tokens", default=2048, show_default=True, type=click.IntRange(min=1), help="Of a micro-batch."
)
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Of the passes.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Timed pairs.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: one per usable core]")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def stages(
    vocab: int,
    hidden: int,
    layers: int,
    context: int,
    sequences: int,
    batch_tokens: int,
    dtype: str,
    repeats: int,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Time a step of each supervised stage beside a plain training loop.

    The plain loop pads documents and takes the logits of every position, on transformers' model. Both train the
    same small random model with the same masks. The defaults take some minutes on two cores.
    """
    if hidden % 64:
        raise click.BadParameter(f"{hidden} is not a multiple of 64.", param_hint="'--hidden'")
    where = choose_device(device)
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    settings = comparison.Settings(vocab, hidden, layers, context, sequences, batch_tokens, repeats, kind)
    machine = measure.describe(where)
    cases = []
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(comparison.STAGES) * (1 + 2 * repeats))
        for stage in comparison.STAGES:

            def said(what: str, stage: str = stage) -> None:
                bar.update(task, advance=1, description=f"{stage}: {what}")

            cases.append(comparison.run(stage, where, settings, said))
    Console().print(comparison.view(machine, settings, cases))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, cases)))
