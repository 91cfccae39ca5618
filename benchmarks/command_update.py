"""``couplet bench update``: the learner's forward and backward pass beside naive ones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks import measure
from benchmarks import update as comparison
from benchmarks.command_options import DTYPES, choose_device, parse_vocabularies


@click.command()
@click.option(
    "--vocab",
    "vocabularies",
    metavar="SIZE,...",
    callback=parse_vocabularies,
    default="32000,152064",
    show_default=True,
    help="Vocabularies.",
)
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Of the passes.")
@click.option("--prompt", default=200, show_default=True, type=click.IntRange(min=1), help="Prompt tokens.")
@click.option(
    "--completion", default=256, show_default=True, type=click.IntRange(min=1), help="Tokens of a completion."
)
@click.option("--group", default=10, show_default=True, type=click.IntRange(min=1), help="Completions.")
@click.option(
    "--micro-batch",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of these at a time on the naive side.",
)
@click.option(
    "--batch-tokens",
    default=comparison.Settings.batch_tokens,
    show_default=True,
    type=click.IntRange(min=1),
    help="Tokens of all views at a time on the learner's side.",
)
@click.option("--layers", default=2, show_default=True, type=click.IntRange(min=1), help="Of the model.")
@click.option("--hidden", type=click.IntRange(min=1), help="Width of the model.  [default: the quick start's]")
@click.option(
    "--checkpointing",
    type=click.Choice(("naive", "both", "neither")),
    default="naive",
    show_default=True,
    help="The sides with gradient checkpointing.",
)
@click.option("--repeats", default=2, show_default=True, type=click.IntRange(min=1), help="Timed pairs.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: one per usable core]")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def update(
    vocabularies: Sequence[int],
    dtype: str,
    prompt: int,
    completion: int,
    group: int,
    micro_batch: int,
    batch_tokens: int,
    layers: int,
    hidden: int | None,
    checkpointing: comparison.Checkpointing,
    repeats: int,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Time the learner's passes beside naive ones.

    The naive forward and backward pass takes the logits of the whole vocabulary at every position of three views.
    Both sides train a small random model. The defaults take some minutes on two cores, and 10 GiB of memory.
    """
    where = choose_device(device)
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    settings = comparison.Settings(
        prompt, completion, group, micro_batch, repeats, dtype, layers, checkpointing, hidden, batch_tokens
    )
    widest = max(vocabularies)
    needed, available = settings.naive_bytes(widest), measure.available_bytes(where)
    if available is not None and needed > available:
        raise click.UsageError(
            f"With {widest:,} tokens in the vocabulary the naive side takes about {needed / 2**30:,.1f} GiB, and "
            f"{available / 2**30:,.1f} GiB are available: give a smaller --micro-batch."
        )
    machine = measure.describe(where)
    cases = []
    with Progress(console=Console(stderr=True)) as bar:
        stages = len(vocabularies) * (comparison.EXTRA_STAGES + comparison.TIMED_STAGES * repeats)
        task = bar.add_task("", total=stages)
        for vocabulary in vocabularies:

            def said(stage: str, case: str = f"{vocabulary:,}") -> None:
                bar.update(task, advance=1, description=f"{case}: {stage}")

            try:
                cases.append(comparison.run(vocabulary, where, settings, said))
            except comparison.WidthError as error:
                raise click.BadParameter(str(error), param_hint="--hidden") from error
    Console().print(comparison.view(machine, settings, cases))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, settings, cases)))
