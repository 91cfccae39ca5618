"""Floating-point operations of a model's training step, and what a device could do in the same time.

Counted are the operations of the matrix products, two for each multiplication and addition, as in the model FLOP
utilization of PaLM (Chowdhery et al. 2022, appendix B): what gradient checkpointing computes again does not count,
nor do embeddings, norms and softmaxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from common.models.config import ModelConfig

Dtype = Literal["float32", "bfloat16"]


class Peak(NamedTuple):
    """TFLOP/s of dense products, by NVIDIA's data sheets; in float32 without TF32."""

    bfloat16: float
    float32: float


#: By what a device's name begins with, after ``NVIDIA ``; the first that fits.
PEAKS: dict[str, Peak] = {
    "A100": Peak(312.0, 19.5),
    "H100 PCIe": Peak(756.0, 51.0),
    "H100 NVL": Peak(835.0, 60.0),
    "H100": Peak(989.0, 67.0),
    "H200 NVL": Peak(835.0, 60.0),
    "H200": Peak(989.0, 67.0),
    "B200": Peak(2250.0, 75.0),
}


def peak_tflops(device_name: str, dtype: Dtype) -> float | None:
    """Return the peak of a GPU in TFLOP/s, by the name that CUDA gives it; None for one that is not known."""
    name = device_name.removeprefix("NVIDIA ")
    peak = next((peak for start, peak in PEAKS.items() if name.startswith(start)), None)
    return None if peak is None else getattr(peak, dtype)


#: A forward and a backward pass, which has two products for each of the forward pass, in forward passes.
TRAINING_PASSES = 3


def forward_flops(
    config: ModelConfig,
    lengths: Sequence[int],
    rows: int,
    *,
    different: int | None = None,
    asked: Sequence[int] | None = None,
) -> int:
    """Count the operations of a forward pass over segments of ``lengths``, of which ``rows`` tokens are scored.

    Attention of a segment runs over all of it. The output layer, and what of the last layer comes after its
    attention, run for the scored rows alone. So it is on a GPU. On a CPU, the first layer makes queries, keys and
    values once for each of the ``different`` tokens, and the last layer queries for the scored rows, of which each
    segment has ``asked``.
    """
    tokens, width = sum(lengths), config.hidden_size
    queries = 2 * width * width
    projections = queries + 4 * width * config.num_key_value_heads * config.head_dim
    attention = 4 * width * sum(length * length for length in lengths)
    after_attention = 2 * width * width + 6 * width * config.intermediate_size
    layers = config.num_hidden_layers
    whole = layers * (tokens * projections + attention) + (layers - 1) * tokens * after_attention
    whole += rows * (after_attention + 2 * width * config.vocab_size)
    if different is not None:
        whole -= (tokens - different) * projections
    if asked is not None:
        whole -= 4 * width * sum((length - some) * length for length, some in zip(lengths, asked, strict=True))
        if layers > 1 or different is None:  # an only layer makes queries of the different tokens
            whole -= (tokens - rows) * queries
    return whole


def training_flops(config: ModelConfig, lengths: Sequence[int], rows: int) -> int:
    """Count those of a forward and a backward pass over whole segments."""
    return TRAINING_PASSES * forward_flops(config, lengths, rows)


def model_flop_utilization(flops: float, seconds: float, peak: float) -> float:
    """Return the share of a device's ``peak`` TFLOP/s that ``flops`` operations in ``seconds`` are."""
    return flops / (seconds * peak * 1e12)
