"""What a GPU makes of the denoising engine: speed, utilization, memory, attention at once against by length.

Without a GPU everything runs at a tiny size on the CPU, which CI does; no figure of that means anything, and the
attention that serves all lengths at once does not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import rollout
from benchmarks.measure import Meter, describe, headline
from benchmarks.shapes import operations, product_peak
from common.models.config import ModelConfig
from common.models.packed_attention import attend_at_once, attend_by_length
from common.models.packing import Packing, Queries
from common.models.transformer import MaskedDiffusionModel, initialize
from common.records import NoiseKey
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

#: DiffuCoder's 7 billion parameters, and a model that a CPU denoises in no time.
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
#: Prompts of so many lengths are in a batch.
_LENGTHS = 16
_GIB = 2**30
_WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize", "cudaDeviceSynchronize")


def measure(device: torch.device, settings: rollout.Settings, shape: dict[str, int]) -> dict[str, float]:
    """Denoise with and without compiled passes over the vocabulary; return what is found, by its label."""
    ids = {"mask_token_id": shape["vocab_size"] - 1, "eos_token_id": 0, "pad_token_id": 1}
    config = ModelConfig.model_validate(shape | ids | {"tie_word_embeddings": False})
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator(device).manual_seed(0))
    denoiser = TorchDenoiser(model, dtype)
    sampler = settings.sampler(rollout.TEMPERATURE, rollout.TOP_P)
    requests = [
        Request(prompt, NoiseKey(0, "gpu", (row,))) for row, prompt in enumerate(_prompts(config, settings))
    ]
    peak = product_peak(device, dtype)
    found = {"peak of products, TFLOP/s": peak / 1e12}
    for name, kernels in (("plain", Kernels()), ("compiled", Kernels.choose(denoiser.vocabulary, device))):
        engine = DenoisingEngine(denoiser, 2**30, kernels)
        work = partial(engine.run, requests, sampler)
        flops = operations(work)
        meter = Meter(device)
        for _ in range(settings.repeats):
            meter.measure(work)
        tokens = settings.rows * settings.completion
        found |= {
            f"{name}: tokens/s": tokens / meter.median,
            f"{name}: ms per step": 1e3 * meter.median / settings.steps,
            f"{name}: share of peak": flops / meter.median / peak,
            f"{name}: memory above the model, GiB": (meter.peak or 0) / _GIB,
        }
    found |= _counted(work, settings.steps)
    return found | _attention(config, requests, settings, device, dtype)


def _prompts(config: ModelConfig, settings: rollout.Settings) -> list[tuple[int, ...]]:
    """Make prompts of several lengths, each of which several rows have."""
    longest = settings.prompt + settings.prompt // 2
    return [
        tuple(2 + (row + place) % (config.vocab_size - 3) for place in range(longest - row % _LENGTHS))
        for row in range(settings.rows)
    ]


def _counted(work: Callable[[], object], steps: int) -> dict[str, float]:
    """Count operators and waits for the device per step, those of the first and the last among them."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        work()
    counts = {event.key: event.count for event in profiler.key_averages()}
    operators = sum(count for key, count in counts.items() if key.startswith("aten::"))
    return {"operators per step": operators / steps} | {
        f"{key} per step": counts.get(key, 0) / steps for key in _WAITS
    }


@torch.inference_mode()
def _attention(
    config: ModelConfig,
    requests: Sequence[Request],
    settings: rollout.Settings,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Time one layer's attention by length and, on a GPU, at once; and how far apart the two are."""
    packing = Packing.of([len(request.prompt_ids) + settings.completion for request in requests], device)
    shape, kv = (packing.total, config.num_attention_heads, config.head_dim), config.num_key_value_heads
    q = torch.randn(shape, device=device, dtype=dtype)
    k, v = torch.randn(2, packing.total, kv, config.head_dim, device=device, dtype=dtype)
    # Every fourth row, as in the last layer.
    rows = torch.arange(0, packing.total, 4, device=device)
    ends = packing.ends.tolist()
    counts = [-(-end // 4) - -(-begin // 4) for begin, end in pairwise(ends)]
    queries = Queries(rows, tuple(counts))
    found: dict[str, float] = {}
    for name, asked in (("all rows", None), ("a fourth of the rows", queries)):
        some = q if asked is None else q[asked.rows]
        by_length = partial(attend_by_length, packing, asked, some, k, v)
        found[f"attention of {name}, by length, ms"] = _median_ms(by_length, device, settings.repeats)
        if device.type == "cuda":
            at_once = partial(attend_at_once, packing, asked, some, k, v, dtype)
            found[f"attention of {name}, at once, ms"] = _median_ms(at_once, device, settings.repeats)
            found[f"attention of {name}, largest difference"] = float((at_once() - by_length()).abs().max())
    return found


def _median_ms(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    work()
    meter = Meter(device)
    for _ in range(repeats):
        meter.measure(work)
    return 1e3 * meter.median


@click.command()
@click.option("--small", is_flag=True, help="A tiny model and batch, also on a GPU.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
def main(small: bool, file: Path | None) -> None:
    """Measure the denoising engine with a random model of 7 billion parameters, and print a table in Markdown.

    On one GPU of 80 GB in some minutes. On CPUs, or with --small, a tiny model in a few seconds.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = small or device.type == "cpu"
    settings, shape = (_SMALL, _TINY) if tiny else (_LARGE, _SEVEN_BILLION)
    found = measure(device, settings, shape)
    machine: dict[str, Any] = describe(device)
    lines = [f"| {label} | {value:.4g} |" for label, value in found.items()]
    click.echo("\n".join([headline(machine), rollout.batch_line(settings), "", "| | |", "| --- | ---: |", *lines]))
    if file is not None:
        file.write_text(json.dumps({"machine": machine, "shape": shape, "results": found}, indent=2))


if __name__ == "__main__":
    main()
