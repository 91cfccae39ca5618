"""What ranks exchange for each micro-batch, which is why few large ones are better than many small ones.

With P parameters of b bytes on R ranks, of which each sends and receives (R - 1) / R:

- ZeRO-3 gathers P b for a forward pass and P b for the backward pass (which computes again from what it gathers),
  and reduces P gradients in fp32;
- ZeRO-2 reduces P gradients in fp32;
- ZeRO-1 and no ZeRO reduce once an update, however many micro-batches that has.

A pass of the reference gathers its P parts in the type in which it reads them, at every stage of ZeRO. A micro-
batch of N tokens computes some 6 P N operations meanwhile: what is exchanged is worth a fixed number of tokens.
"""

from __future__ import annotations

from math import prod

from common.config import LearnerConfig
from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes
from learner.objectives.registry import make_objective

_FP32, _BF16 = 4, 2


def exchanged_bytes(model: ModelConfig, config: LearnerConfig, computes_bf16: bool) -> float:
    """Return the bytes that a rank receives for one micro-batch of an update; what an update adds is left out."""
    if config.zero_stage == 0:
        return 0.0
    parameters = sum(prod(shape) for shape in parameter_shapes(model).values())
    held = _BF16 if config.weights_dtype == "bfloat16" else _FP32
    a_parameter = {1: 0, 2: _FP32, 3: 2 * held + _FP32}[config.zero_stage]
    if make_objective(config.objective).needs_reference:
        a_parameter += _BF16 if computes_bf16 else _FP32
    return parameters * a_parameter * (config.ranks - 1) / config.ranks
