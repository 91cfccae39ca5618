"""``couplet bench``: this project's parts beside the plain way to do the same, measured in one run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks.command_sandbox import sandbox_bench

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "bfloat16")
#: Room for two end tokens, the mask token and some to choose from.
_SMALLEST_VOCABULARY = 16


def _vocabularies(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(part.isdecimal() and int(part) >= _SMALLEST_VOCABULARY for part in parts):
        raise click.BadParameter(
            f"{value!r} is not a list of numbers from {_SMALLEST_VOCABULARY} up, with commas between them."
        )
    return tuple(map(int, parts))


def _dtypes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    parts = tuple(value.split(","))
    if not set(parts) <= set(_DTYPES):
        raise click.BadParameter(f"{value!r} is not a list of {' and '.join(_DTYPES)}, with commas between them.")
    return parts


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter("torch sees no GPU.", param_hint="'--device'")
    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if on_gpu else "cpu")


@click.group()
def bench() -> None:
    """Measure parts of the project on this machine."""


bench.add_command(sandbox_bench)


@bench.command()
@click.option(
    "--vocab",
    "vocabularies",
    metavar="SIZE,...",
    callback=_vocabularies,
    default="32000,152064",
    show_default=True,
    help="Vocabularies.",
)
@click.option(
    "--dtype",
    "dtypes",
    metavar="DTYPE,...",
    callback=_dtypes,
    default=",".join(_DTYPES),
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
    """The denoising engine beside the published sampler, on a small random model.

    The defaults take about five minutes on two slow cores.
    """
    if steps > completion:
        raise click.BadParameter(
            f"{steps} is more than the {completion} tokens of --completion.", param_hint="'--steps'"
        )
    # Takes seconds to import.
    import torch

    from benchmarks import measure
    from benchmarks import rollout as comparison

    where = _device(device)
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


@bench.command()
@click.option(
    "--mib", default=1024, show_default=True, type=click.IntRange(min=1), help="MiB of weights to publish."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Actors that load them.")
@click.option(
    "--transport",
    type=click.Choice(("object_store", "collective", "both")),
    default="both",
    show_default=True,
    help="How they get there.",
)
@click.option("--dtype", type=click.Choice(_DTYPES), default=_DTYPES[0], show_default=True, help="Of the weights.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Timed updates.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def weights(mib: int, workers: int, transport: str, dtype: str, repeats: int, as_json: bool) -> None:
    """New weights from one Ray actor to others, beside a plain copy of as many bytes.

    On this machine only, with a Ray of its own. The defaults take about 6 GiB of memory.
    """
    # Takes seconds to import.
    import torch

    from benchmarks import measure
    from benchmarks import weights as comparison

    settings = comparison.Settings(mib, workers, dtype, repeats)
    transports = tuple(t for t in comparison.TRANSPORTS if transport in (t, "both"))
    machine = measure.describe(torch.device("cpu"))
    with Progress(console=Console(stderr=True)) as bar, TemporaryDirectory() as folder:
        stages = comparison.STAGES + len(transports) * (comparison.TRANSPORT_STAGES + repeats)
        task = bar.add_task("", total=stages)
        result = comparison.run(
            settings, transports, Path(folder), lambda stage: bar.update(task, advance=1, description=stage)
        )
    Console().print(comparison.view(machine, settings, result))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, settings, result)))


@bench.command()
@click.option(
    "--vocab",
    "vocabularies",
    metavar="SIZE,...",
    callback=_vocabularies,
    default="32000,152064",
    show_default=True,
    help="Vocabularies.",
)
@click.option("--dtype", type=click.Choice(_DTYPES), default=_DTYPES[0], show_default=True, help="Of the passes.")
@click.option("--prompt", default=200, show_default=True, type=click.IntRange(min=1), help="Prompt tokens.")
@click.option(
    "--completion", default=256, show_default=True, type=click.IntRange(min=1), help="Tokens of a completion."
)
@click.option("--group", default=10, show_default=True, type=click.IntRange(min=1), help="Completions.")
@click.option(
    "--micro-batch", default=5, show_default=True, type=click.IntRange(min=1), help="Of these scored at a time."
)
@click.option("--layers", default=2, show_default=True, type=click.IntRange(min=1), help="Of the model.")
@click.option(
    "--checkpointing/--no-checkpointing",
    default=True,
    show_default=True,
    help="Gradient checkpointing, on both sides.",
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
    layers: int,
    checkpointing: bool,
    repeats: int,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """The learner's forward and backward pass beside the naive one, which scores the whole vocabulary at every
    position of three views, on a small random model.

    The defaults take some minutes on two cores, and 10 GiB of memory.
    """
    # Takes seconds to import.
    import torch

    from benchmarks import measure
    from benchmarks import update as comparison

    where = _device(device)
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    settings = comparison.Settings(prompt, completion, group, micro_batch, repeats, dtype, layers, checkpointing)
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

            cases.append(comparison.run(vocabulary, where, settings, said))
    Console().print(comparison.view(machine, settings, cases))
    if as_json:
        click.echo(json.dumps(comparison.as_json(machine, settings, cases)))
