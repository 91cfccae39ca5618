"""What DeepSpeed is told, and how large its buffers are: they are reckoned with in :mod:`learner.memory`."""

from __future__ import annotations

from typing import Any

from common.config import EngineConfig

#: Elements of the buffers in which gradients are averaged and weights gathered, unless the model has fewer.
#: DeepSpeed's own defaults are four times as large and allocated whole, for small models too.
BUCKET_ELEMENTS = 1 << 27
#: Elements of gathered weights that ZeRO-3 keeps for their next use: a layer of a 7 B model has 2.3e8.
LIVE_ELEMENTS = 1 << 28
#: ZeRO-3 leaves smaller parameters whole on every rank.
PERSISTENT_ELEMENTS = 100_000


def bucket_elements(trained: int) -> int:
    """Return the elements of a buffer for a model of which ``trained`` elements are trained; an even number."""
    return min(BUCKET_ELEMENTS, trained + trained % 2)


def deepspeed_settings(config: EngineConfig, trained: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a model of which ``trained`` elements are trained."""
    bucket = bucket_elements(trained)
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        "stage3_prefetch_bucket_size": bucket,
        "stage3_max_live_parameters": LIVE_ELEMENTS,
        "stage3_max_reuse_distance": LIVE_ELEMENTS,
        "stage3_param_persistence_threshold": PERSISTENT_ELEMENTS,
    }
    if config.zero_offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.zero_offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    settings = {
        "train_micro_batch_size_per_gpu": 1,  # counts calls of the engine; we set the boundary ourselves
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
    if config.weights_dtype == "bfloat16":
        # A pass leaves gradients in bf16. They are added up, over micro-batches and over ranks, in fp32; at stage
        # 1 as each comes, or all of them would exist in both types.
        settings |= {
            "bf16": {"enabled": True, "immediate_grad_update": True},
            "data_types": {"grad_accum_dtype": "fp32"},
            "communication_data_type": "fp32",
        }
    return settings
