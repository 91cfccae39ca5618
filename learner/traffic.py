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

from math import ceil, prod

from common.config import EngineConfig, LearnerConfig
from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes
from learner.objectives.registry import make_objective

_FP32, _BF16 = 4, 2
#: Operations of a pass for each token and parameter: a forward and a backward pass.
_OPERATIONS = 6
#: Operations that a GPU computes while it receives a byte: 40 % of an H100's peak beside 300 GB/s of NVLink.
_OPERATIONS_A_BYTE = 0.4 * 989e12 / 300e9
#: Of a pass's time, what ranks may exchange in it where micro-batches are chosen so.
_EXCHANGE_SHARE = 0.1
#: Micro-batches are chosen as multiples of this.
_TOKENS_STEP = 4096
#: So many hold all views of a usual group of ten, which share one masked completion.
_FEWEST_TOKENS = 12288
_CPU_TOKENS = 16384


def exchanged_bytes(model: ModelConfig, config: LearnerConfig, computes_bf16: bool) -> float:
    """Return the bytes that a rank receives for one micro-batch of an update; what an update adds is left out."""
    if config.zero_stage == 0:
        return 0.0
    parameters = sum(prod(shape) for shape in parameter_shapes(model).values())
    a_parameter = _bytes_a_parameter(config)
    if make_objective(config.objective).needs_reference:
        a_parameter += _BF16 if computes_bf16 else _FP32
    return parameters * a_parameter * (config.ranks - 1) / config.ranks


def pass_tokens(config: EngineConfig) -> int:
    """Return the tokens of a micro-batch: ``batch_tokens``, or what is chosen where that has no value."""
    return config.batch_tokens or _chosen_tokens(config)


def pass_tokens_sentence(config: EngineConfig) -> str:
    """Say how many tokens a micro-batch has, and why."""
    chosen = f"{_chosen_tokens(config):,}"
    if not config.gpus_per_rank:
        reason = "on CPUs, where memory is all that bounds it"
    elif not config.zero_stage or config.ranks == 1:
        reason = "as ranks exchange nothing for it"
    else:
        reason = (
            f"as ZeRO-{config.zero_stage} on {config.ranks} ranks, with a reference, exchanges what is worth "
            f"{_worth_tokens(config):,.0f} tokens for it, or {_EXCHANGE_SHARE:.0%} of "
            f"{_worth_tokens(config) / _EXCHANGE_SHARE:,.0f}"
        )
    if config.batch_tokens is None:
        return f"learner.batch_tokens: {chosen} chosen, {reason}"
    return f"learner.batch_tokens: {config.batch_tokens:,} as configured; without a value {chosen}, {reason}"


def _chosen_tokens(config: EngineConfig) -> int:
    if not config.gpus_per_rank:
        return _CPU_TOKENS
    least = _worth_tokens(config) / _EXCHANGE_SHARE
    return max(_FEWEST_TOKENS, ceil(least / _TOKENS_STEP) * _TOKENS_STEP)


def _worth_tokens(config: EngineConfig) -> float:
    """Return the tokens whose operations take as long as what is exchanged for a micro-batch, with a bf16
    reference."""
    if config.zero_stage == 0:
        return 0.0
    received = (_bytes_a_parameter(config) + _BF16) * (config.ranks - 1) / config.ranks
    return received * _OPERATIONS_A_BYTE / _OPERATIONS


def _bytes_a_parameter(config: EngineConfig) -> int:
    held = _BF16 if config.weights_dtype == "bfloat16" else _FP32
    return {0: 0, 1: 0, 2: _FP32, 3: 2 * held + _FP32}[config.zero_stage]
