"""``couplet bench rollout``: the denoising engine beside the published sampler, or both backends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any, TypeVar

import click
import torch
from rich.console import Console, Group
from rich.progress import Progress

from benchmarks import backends, measure
from benchmarks import rollout as samplers
from benchmarks.command_options import choose_device, parse_dtypes, parse_vocabularies
from benchmarks.shapes import SHAPES

Case = TypeVar("Case")
#: A vocabulary, or the name of a shape.
Size = TypeVar("Size", bound=int | str)
#: What is shown, and the same as plain data.
Shown = tuple[Group, dict[str, Any]]


@click.command()
@click.option(
    "--backend",
    type=click.Choice(("torch", "vllm")),
    default="torch",
    show_default=True,
    help="vllm: time this backend beside torch, in place of the published sampler.",
)
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
    "--shape",
    "shapes",
    type=click.Choice(tuple(SHAPES)),
    multiple=True,
    help="In place of --vocab, a model of this shape; may be given several times.",
)
@click.option(
    "--dtype",
    "dtypes",
    metavar="DTYPE,...",
    callback=parse_dtypes,
    help="Of the model's computation.  [default: float32,bfloat16; with --backend vllm: float32]",
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
@click.option("--compile", "compiled", is_flag=True, help="With --backend vllm: vLLM compiles its model.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: one per usable core]")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def rollout(
    backend: str,
    vocabularies: Sequence[int],
    shapes: Sequence[str],
    dtypes: Sequence[str] | None,
    repeats: int,
    steps: int,
    rows: int,
    prompt: int,
    completion: int,
    compiled: bool,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Time the denoising engine and the published sampler, or both backends.

    Both sides complete prompts with a small random model. The defaults take about five minutes on two slow cores,
    and two with --backend vllm.
    """
    if steps > completion:
        raise click.BadParameter(
            f"{steps} is more than the {completion} tokens of --completion.", param_hint="'--steps'"
        )
    if shapes and backend == "vllm":
        raise click.BadParameter("is of the published sampler's comparison: leave it out.", param_hint="'--shape'")
    if compiled and backend == "torch":
        raise click.BadParameter("is of vLLM's model: give --backend vllm too.", param_hint="'--compile'")
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    show = _backends if backend == "vllm" else _samplers
    batch = samplers.Settings(rows, prompt, completion, steps, repeats)
    view, record = show(batch, compiled, device, shapes or vocabularies, dtypes)
    Console().print(view)
    if as_json:
        click.echo(json.dumps(record))


def _samplers(
    settings: samplers.Settings, _: bool, device: str, shapes: Sequence[int | str], dtypes: Sequence[str] | None
) -> Shown:
    """Compare the engine with the published sampler."""
    where = choose_device(device)
    machine = measure.describe(where)
    cases = _each(
        lambda size, dtype, said: samplers.run(size, dtype, where, settings, said),
        samplers.EXTRA_STAGES + 2 * settings.repeats,
        shapes,
        dtypes or samplers.DTYPES,
    )
    return samplers.view(machine, settings, cases), samplers.as_json(machine, settings, cases)


def _backends(
    batch: samplers.Settings,
    compiled: bool,
    device: str,
    sizes: Sequence[int | str],
    dtypes: Sequence[str] | None,
) -> Shown:
    """Compare the vllm backend with the torch backend."""
    where = backends.vllm_device()
    if device not in ("auto", where.type):
        raise click.BadParameter(f"the vLLM that is installed computes on {where.type}.", param_hint="'--device'")
    settings = backends.Settings(**asdict(batch), compile=compiled)
    machine = measure.describe(where)
    cases = _each(
        lambda size, dtype, said: backends.run(size, dtype, where, settings, said),
        backends.EXTRA_STAGES + 2 * settings.repeats,
        [size for size in sizes if isinstance(size, int)],
        dtypes or backends.DTYPES,
    )
    return backends.view(machine, settings, cases), backends.as_json(machine, settings, cases)


def _each(
    run: Callable[[Size, torch.dtype, Callable[[str], None]], Case],
    stages: int,
    sizes: Sequence[Size],
    dtypes: Sequence[str],
) -> list[Case]:
    """Run a comparison of so many ``stages`` for each model and dtype, with a bar of its progress."""
    cases = []
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(sizes) * len(dtypes) * stages)
        for size, dtype in product(sizes, dtypes):

            def said(stage: str, case: str = f"{size} {dtype}") -> None:
                bar.update(task, advance=1, description=f"{case}: {stage}")

            cases.append(run(size, getattr(torch, dtype), said))
    return cases
