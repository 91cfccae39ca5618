"""What vLLM 0.32 cannot compute, told from a model's configuration before anything is started."""

from __future__ import annotations

from common.models.config import ModelConfig
from common.models.families import family_named

#: The layouts of families for which there is a vLLM architecture of ours.
_LAYOUTS = ("qwen2", "llama")
#: The head sizes that vLLM's attention on CPUs has kernels for (its ``v1/attention/backends/cpu_attn.py``).
_CPU_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_limits(model: ModelConfig, tensor_parallel_size: int, on_gpu: bool) -> None:
    """Check that vLLM can compute a model. Raises ValueError, which names what it cannot and what would do."""
    layout = family_named(model.family).layout
    if layout not in _LAYOUTS:
        raise ValueError(
            f"models of the layout {layout} have no vLLM architecture here, only {' and '.join(_LAYOUTS)} have; "
            "set rollout.backend: torch"
        )
    if not on_gpu and model.head_dim not in _CPU_HEAD_DIMS:
        raise ValueError(
            f"the model's heads are {model.head_dim} wide, and vLLM's attention on CPUs has widths of "
            f"{', '.join(map(str, _CPU_HEAD_DIMS))}; set rollout.backend: torch"
        )
    if not _can_be_shared(model, tensor_parallel_size):
        sizes = [size for size in range(1, model.num_attention_heads + 1) if _can_be_shared(model, size)]
        raise ValueError(
            f"{model.num_attention_heads} heads, {model.num_key_value_heads} of them for keys and values, and "
            f"feed-forward blocks {model.intermediate_size} wide cannot be shared out evenly to "
            f"{tensor_parallel_size}; set rollout.backend.tensor_parallel_size to one of "
            f"{', '.join(map(str, sizes))}"
        )


def _can_be_shared(model: ModelConfig, size: int) -> bool:
    """Return whether ``size`` ranks can share a model. Key-value heads that are fewer than ranks are repeated."""
    kv_heads = model.num_key_value_heads
    return (
        model.num_attention_heads % size == 0
        and model.intermediate_size % size == 0
        and max(kv_heads, size) % min(kv_heads, size) == 0
    )
