"""Bytes of a checkpoint, reckoned from the configuration before there is one."""

from __future__ import annotations

from common.config import EngineConfig, LearnerConfig
from common.models.config import ModelConfig
from learner.memory import FP32, Sizes, mixes_reference, reference_parts
from learner.objectives.registry import make_objective


def checkpoint_bytes(model: ModelConfig, config: EngineConfig, computes_bf16: bool) -> int:
    """Return the bytes of all files of a checkpoint, but for what is not weights: some 100 KB.

    ``computes_bf16`` is ``model.dtype: bfloat16``. Of what is trained there are AdamW's two averages in fp32 and,
    from ZeRO stage 1 on, the fp32 weights. Up to stage 2 the weights are there as they are held, too. Every rank
    adds its part of the reference, if the objective has one.
    """
    sizes = Sizes.of(model, config, computes_bf16)
    optimizer = (3 if config.zero_stage else 2) * FP32 * sizes.trained_sum
    weights = sizes.held * sizes.trained_sum if config.zero_stage < 3 else 0
    return optimizer + weights + (_reference_bytes(sizes, config) if isinstance(config, LearnerConfig) else 0)


def _reference_bytes(sizes: Sizes, config: LearnerConfig) -> int:
    """Return the bytes of the reference's parts of all ranks, in fp32 where it is mixed."""
    if not make_objective(config.objective).needs_reference:
        return 0
    mixes = mixes_reference(config)
    return sizes.ranks * sum(elements * (FP32 if mixes else read) for elements, read in reference_parts(sizes))
