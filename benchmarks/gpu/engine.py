"""What a GPU makes of the denoising engine: speed, utilization, memory, attention at once against by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import rollout
from benchmarks.measure import Meter
from benchmarks.shapes import operations
from common.models.config import ModelConfig
from common.models.packed_attention import attend_at_once, attend_by_length
from common.models.packing import Packing, Queries
from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine, compiled_where_it_pays
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

#: Prompts of so many lengths are in a batch.
_LENGTHS = 16
_GIB = 2**30
_WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize", "cudaDeviceSynchronize")


def measure(
    device: torch.device, settings: rollout.Settings, model: MaskedDiffusionModel, dtype: torch.dtype, peak: float
) -> dict[str, float]:
    """Denoise with and without compiled passes; return what is found, by its label.

    ``peak``: operations a second of a large product on this device.
    """
    config = model.config
    denoiser = TorchDenoiser(model, dtype)
    sampler = settings.sampler(rollout.TEMPERATURE, rollout.TOP_P)
    requests = [
        Request(prompt, NoiseKey(0, "gpu", (row,))) for row, prompt in enumerate(_prompts(config, settings))
    ]
    found: dict[str, float] = {}
    for name in ("plain", "compiled"):
        kernels = Kernels() if name == "plain" else compiled_where_it_pays(denoiser, "auto")
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
