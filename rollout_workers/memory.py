"""Bytes of a rollout worker by part, reckoned from the configuration.

H is the width of the model, I that of its feed-forward blocks, V its vocabulary and N ``rollout.batch_tokens``.
"""

from __future__ import annotations

from math import prod

from common.config import RolloutConfig
from common.memory import Estimate, Part
from common.models.config import ModelConfig
from common.models.shapes import is_operand, parameter_shapes
from rollout_workers.chunks import CHUNK_LOGITS, PASS_LOGITS

LOAD, STEP, UPDATE = "loading", "denoising step", "weight update"
MOMENTS = (LOAD, STEP, UPDATE)
FP32, BF16 = 4, 2
#: A step holds logits, and the rows of these that it draws from.
LOGITS_TABLES = 2
#: Of so many as it goes over together, it holds the weights at the temperature, what of these is kept, and two
#: temporaries of that size.
VOCABULARY_TABLES = 4
#: Token, step, noise and plan, 8 bytes each, and two log-probabilities of 4.
CELL_BYTES = 4 * 8 + 2 * 4


def rollout_memory(
    model: ModelConfig, config: RolloutConfig, computes_bf16: bool, bucket_bytes: int, on_gpu: bool
) -> Estimate:
    """Estimate what a rollout worker takes.

    ``computes_bf16`` is ``model.dtype: bfloat16``, and ``bucket_bytes`` the size of a weight bucket.
    """
    shapes = parameter_shapes(model)
    everything = sum(map(prod, shapes.values()))
    # Products are held in the type that is computed in; what is read as it is (embedding, norms) in fp32.
    products = sum(prod(shape) for name, shape in shapes.items() if is_operand(name))
    held = products * (BF16 if computes_bf16 else FP32) + (everything - products) * FP32
    operand = BF16 if computes_bf16 else FP32
    tokens, width, inner = config.batch_tokens, model.hidden_size, model.intermediate_size
    # A layer's feed-forward block at its widest: the state and its norm in fp32, the norm as an operand, then gate
    # and what SiLU makes of it, up, and their product.
    activations = tokens * (2 * width * FP32 + width * operand + 4 * inner * operand)
    parts = [
        Part("weights, fp32 from the file", everything * FP32, frozenset({LOAD})),
        Part("weights", held, frozenset({STEP, UPDATE})),
        Part("activations", activations, frozenset({STEP, UPDATE})),
        Part("logits and sampling", logits_bytes(tokens * model.vocab_size, on_gpu), frozenset({STEP})),
        Part("rows being sampled", tokens * CELL_BYTES, frozenset({STEP, UPDATE})),
    ]
    if config.remembers:
        # Keys in fp32 and values in the type of products, of every layer and token; twice while rows move.
        kv = model.num_key_value_heads * model.head_dim
        parts.append(
            Part(
                "remembered keys and values",
                2 * model.num_hidden_layers * tokens * kv * (FP32 + operand),
                frozenset({STEP, UPDATE}),
            )
        )
    if config.approximate_locking:
        parts.append(Part("last states of rows", 2 * tokens * width * FP32, frozenset({STEP, UPDATE})))
    bucket = max(bucket_bytes, max(map(prod, shapes.values())) * operand)
    # Where a broadcast arrives; otherwise, it is shared memory of the host.
    parts.append(Part("weight bucket", bucket, frozenset({UPDATE})))
    return Estimate(MOMENTS, tuple(parts))


def logits_bytes(most: int, on_gpu: bool) -> int:
    """Reckon what scoring and drawing take, where all masked positions of a batch have ``most`` logits at most."""
    device = "cuda" if on_gpu else "cpu"
    held, passed = (min(logits[device], most) for logits in (CHUNK_LOGITS, PASS_LOGITS))
    return (LOGITS_TABLES * held + VOCABULARY_TABLES * passed) * FP32
