"""``couplet bench rollout``: the denoising engine beside the published sampler."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks import measure
from benchmarks import rollout as comparison
from benchmarks.command_options import DTYPES, choose_device, parse_dtypes, parse_vocabularies


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
@click.option(
    "--dtype",
    "dtypes",
    metavar="DTYPE,...",
    callback=parse_dtypes,
    default=",".join(DTYPES),
    show_default=True,
    help="Of the model's computation.",
)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Timed pairs.")
@click.option("--steps", default=4, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.option("--rows", default=2, show_default=True, type=click.IntRange(min=1), help="Prompts in the batch.")
@click.option(
    "--prompt",
    default=128,
    show_default=True,
    type=click.IntRange(min=1),
    help="Mean prompt tokens; rows are in turns an eighth longer and shorter.",
)
@click.option(
    "--completion", default=128, show_default=True, type=click.IntRange(min=1), help="Tokens to write in a row."
)
@click.option("--threads", type=click.IntRange(min=1), help="[default: one per usable core]")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def rollout(
    vocabularies: Sequence[int],
    dtypes: Sequence[str],
    repeats: int,
    steps: int,
    rows: int,
    prompt: int,
    completion: int,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Time the denoising engine and the published sampler.

    Both complete prompts with a small random model. The defaults take about five minutes on two slow cores.
    """
    if steps > completion:
        raise click.BadParameter(
            f"{steps} is more than the {completion} tokens of --completion.", param_hint="'--steps'"
        )
    where = choose_device(device)
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    settings = comparison.Settings(rows, prompt, completion, steps, repeats)
    machine = measure.describe(where)
    cases = []
    with Progress(console=Console(stderr=True)) as bar:
        stages = len(vocabularies) * len(dtypes) * (comparison.EXTRA_STAGES + 2 * repeats)
        task = bar.add_task("", total=stages)
        for vocabulary in vocabularies:
            for dtype in dtypes:

                def said(stage: str, case: str = f"{vocabulary:,} {dtype}") -> None:
                    bar.update(task, advance=1, description=f"{case}: {stage}")

                cases.append(comparison.run(vocabulary, getattr(torch, dtype), where, settings, said))
    Console().print(comparison.view(machine, settings, cases))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, settings, cases)))
