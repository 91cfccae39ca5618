"""``couplet bench flops``: operations of training on a token, and what they come to on a GPU."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console

from benchmarks import flops as arithmetic
from common.flops import PEAKS
from common.models.config import ModelConfig
from common.models.folder import local_model_folder
from common.models.published import PUBLISHED


@click.command()
@click.argument("model", default="apple/DiffuCoder-7B-Base")
@click.option("--context", "contexts", multiple=True, type=click.IntRange(min=2), help="May be repeated.")
@click.option(
    "--gpu", default="H100", show_default=True, type=click.Choice(list(PEAKS)), help="Whose peak counts."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def flops(model: str, contexts: tuple[int, ...], gpu: str, as_json: bool) -> None:
    """Count the operations of training on a token.

    MODEL is a folder, or the name of a published model; no weights are read. The contexts are 2048 and 4096 by
    default.
    """
    folder = local_model_folder(model)
    config = PUBLISHED.get(model) if folder is None else ModelConfig.from_folder(folder)
    if config is None:
        raise click.BadParameter(f"{model} is no folder, and none of {', '.join(PUBLISHED)}.", param_hint="MODEL")
    counts = [arithmetic.count(config, context) for context in contexts or (2048, 4096)]
    Console().print(arithmetic.view(model, counts, gpu))
    if as_json:
        click.echo(json.dumps({"model": model, "gpu": gpu, "counts": [asdict(each) for each in counts]}))
