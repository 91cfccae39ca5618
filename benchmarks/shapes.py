"""The shapes of model that rollouts are measured at, and how fast this machine multiplies matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import seconds

#: Fields of a model's configuration, by name: the quick start's; a small model with the vocabulary of Llama 2; and
#: that of Qwen2.5-0.5B.
SHAPES: dict[str, dict[str, int]] = {
    "quickstart": {
        "vocab_size": 448,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "512x8": {
        "vocab_size": 32_000,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "0.5b": {
        "vocab_size": 152_064,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
}
_SQUARE = {"cpu": 2048, "cuda": 8192}
_TRIES = 7


def product_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating-point operations a second of a large square product, the best of some tries."""
    size = _SQUARE[device.type]
    one, other = torch.randn(2, size, size, device=device).to(dtype)
    out = torch.empty_like(one)
    best = min(seconds(lambda: torch.mm(one, other, out=out), device) for _ in range(_TRIES))
    return 2 * size**3 / best


def operations(work: Callable[[], object]) -> int:
    """Count the floating-point operations of the work's products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
