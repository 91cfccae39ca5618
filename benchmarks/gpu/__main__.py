"""``python -m benchmarks.gpu``: what a GPU makes of rollouts, of an update, and of weights on their way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import rollout
from benchmarks.gpu import engine, publish, update
from benchmarks.measure import describe, headline
from benchmarks.shapes import product_peak
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize

#: DiffuCoder's 7 billion parameters, and a model that a CPU computes in no time.
_SEVEN_BILLION = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
_TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_LARGE = rollout.Settings(rows=128, prompt=200, completion=256, steps=4, repeats=3)
_SMALL = rollout.Settings(rows=4, prompt=12, completion=16, steps=4, repeats=1)
_LARGE_UPDATE = update.Update(prompt=200, completion=256, group=10, repeats=3)
_SMALL_UPDATE = update.Update(prompt=12, completion=16, group=4, repeats=1)
#: Of the layers: with optimizer and reference a parameter takes some 20 bytes on a single GPU.
_UPDATED_LAYERS = 4


def model_config(shape: dict[str, int]) -> ModelConfig:
    """Return the configuration of a random model of this shape."""
    ids = {"mask_token_id": shape["vocab_size"] - 1, "eos_token_id": 0, "pad_token_id": 1}
    return ModelConfig.model_validate(shape | ids | {"tie_word_embeddings": False})


def measure(device: torch.device, tiny: bool) -> dict[str, float]:
    """Measure everything on one device; return what is found, by its label."""
    settings, shape = (_SMALL, _TINY) if tiny else (_LARGE, _SEVEN_BILLION)
    config = model_config(shape)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    peak = product_peak(device, dtype)
    found = {"peak of products, TFLOP/s": peak / 1e12}
    model = _random_model(config, device, dtype)
    found |= publish.measure(device, model, settings.repeats)
    found |= engine.measure(device, settings, model, dtype, peak)
    del model
    shallow = config.model_copy(update={"num_hidden_layers": min(_UPDATED_LAYERS, config.num_hidden_layers)})
    return found | update.measure(device, shallow, _SMALL_UPDATE if tiny else _LARGE_UPDATE, peak)


def _random_model(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> MaskedDiffusionModel:
    with torch.device(device):
        model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator(device).manual_seed(0))
    return model.to(dtype)


@click.command()
@click.option("--small", is_flag=True, help="A tiny model and batch, also on a GPU.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
def main(small: bool, file: Path | None) -> None:
    """Measure rollouts and weights of a random model of 7 billion parameters, and updates of four of its layers.

    Prints a table in Markdown. On one GPU of 80 GB in some minutes, of which compilation is the most. On CPUs, or
    with --small, a tiny model in a few seconds: no figure of that means anything, and on a CPU neither the
    attention that serves all lengths at once nor what is compiled runs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = small or device.type == "cpu"
    found = measure(device, tiny)
    machine: dict[str, Any] = describe(device)
    batch = rollout.batch_line(_SMALL if tiny else _LARGE)
    lines = [f"| {label} | {value:.4g} |" for label, value in found.items()]
    click.echo("\n".join([headline(machine), batch, "", "| | |", "| --- | ---: |", *lines]))
    if file is not None:
        shape = _TINY if tiny else _SEVEN_BILLION
        file.write_text(json.dumps({"machine": machine, "shape": shape, "results": found}, indent=2))


if __name__ == "__main__":
    main()
