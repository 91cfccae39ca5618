"""Bytes of each process of a vLLM worker by part, reckoned from the configuration.

Sizes are called as in :mod:`rollout_workers.memory`; R is ``tensor_parallel_size``.
"""

from __future__ import annotations

from math import prod

from common.config import RolloutConfig, VllmBackendConfig
from common.memory import Estimate, Part
from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes, part_size
from rollout_workers.backends.vllm_backend.limits import padded_vocabulary
from rollout_workers.memory import CELL_BYTES, FP32, LOAD, MOMENTS, STEP, UPDATE, logits_bytes

_BYTES = {"float32": 4, "bfloat16": 2}


def vllm_memory(
    model: ModelConfig, config: RolloutConfig, backend: VllmBackendConfig, model_dtype: str, bucket_bytes: int
) -> Estimate:
    """Estimate what one of the R processes of a rollout worker takes, each on a GPU of its own if there are any.

    ``model_dtype`` is ``model.dtype``, and ``bucket_bytes`` the size of a weight bucket.
    """
    ranks, on_gpu = backend.tensor_parallel_size, config.gpus_per_worker > 0
    width = _BYTES[backend.dtype or model_dtype]
    shapes = parameter_shapes(model)
    everything = sum(map(prod, shapes.values()))
    held = {name: _part(model, name, shape, ranks) for name, shape in shapes.items()}
    tokens, inner = config.batch_tokens, part_size(model.intermediate_size, ranks)
    # A layer's feed-forward block at its widest: the state and its norm, gate and up side by side, their product.
    activations = tokens * (2 * model.hidden_size + 3 * inner) * width
    # Every masked position of every row is as wide as this rank's part of V.
    logits = logits_bytes(tokens * _part_of_vocabulary(model, ranks), on_gpu)
    # On a CPU, vLLM computes logits in fp32 with a copy of the head, made for each chunk.
    head = 0 if on_gpu or width == FP32 else _part_of_vocabulary(model, ranks) * model.hidden_size * FP32
    # A layer is made anew beside the one that it replaces. Gate and up are one.
    layer = max(2 * held["model.layers.0.mlp.gate_proj.weight"], *held.values()) * width
    bucket = max(bucket_bytes, max(map(prod, shapes.values())) * width)
    return Estimate(
        MOMENTS,
        (
            Part("weights", sum(held.values()) * width, frozenset(MOMENTS)),
            Part("activations", activations, frozenset({STEP})),
            Part("logits and sampling", logits, frozenset({STEP})),
            Part("head in fp32", head, frozenset({STEP})),
            Part("rows being sampled", tokens * CELL_BYTES, frozenset({STEP, UPDATE})),
            Part("layer being replaced", layer, frozenset({LOAD, UPDATE})),
            Part("weight bucket", bucket, frozenset({UPDATE})),
        ),
        # The worker itself reads the model and hands it to the processes.
        host=(Part("weights, fp32 from the file", everything * FP32, frozenset({LOAD})),),
    )


def _part(model: ModelConfig, name: str, shape: tuple[int, ...], ranks: int) -> int:
    """Count the elements of a parameter that one rank holds: a part of each matrix and bias, and norms whole."""
    if "norm" in name:
        return prod(shape)
    if "k_proj" in name or "v_proj" in name:  # ranks that are more than the heads have one each
        heads = max(1, model.num_key_value_heads // ranks)
        return prod(shape) // model.num_key_value_heads * heads
    if "embed_tokens" in name or "lm_head" in name:
        return _part_of_vocabulary(model, ranks) * model.hidden_size
    return part_size(prod(shape), ranks)


def _part_of_vocabulary(model: ModelConfig, ranks: int) -> int:
    """Count the rows of the embedding, and of the head, that one rank holds."""
    return part_size(padded_vocabulary(model), ranks)
