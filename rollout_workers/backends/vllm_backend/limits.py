"""What vLLM 0.32 cannot compute, told from a model's configuration before anything is started."""

from __future__ import annotations

from common.models.config import ModelConfig
from common.models.families import family_named
from common.models.shapes import part_size
from rollout_workers.backends.vllm_backend.plugin import ARCHITECTURES

#: The head sizes that vLLM's attention on CPUs has kernels for (its ``v1/attention/backends/cpu_attn.py``).
_CPU_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_limits(model: ModelConfig, tensor_parallel_size: int, on_gpu: bool) -> None:
    """Check that vLLM can compute a model. Raises ValueError, which names what it cannot and what would do."""
    layout = family_named(model.family).layout
    if layout not in ARCHITECTURES:
        raise ValueError(
            f"models of the layout {layout} have no vLLM architecture here, those of "
            f"{' and '.join(ARCHITECTURES)} have; set rollout.backend: torch"
        )
    if not on_gpu and model.head_dim not in _CPU_HEAD_DIMS:
        raise ValueError(
            f"the model's heads are {model.head_dim} wide, and vLLM's attention on CPUs has widths of "
            f"{', '.join(map(str, _CPU_HEAD_DIMS))}; set rollout.backend: torch"
        )
    if not _can_be_shared(model, tensor_parallel_size):
        sizes = [size for size in range(1, model.num_attention_heads + 1) if _can_be_shared(model, size)]
        raise ValueError(
            f"{model.num_attention_heads} heads, {model.num_key_value_heads} key-value heads, feed-forward blocks "
            f"{model.intermediate_size} wide and a vocabulary of {padded_vocabulary(model)} rows cannot be shared "
            f"out evenly to {tensor_parallel_size}; set rollout.backend.tensor_parallel_size to one of "
            f"{', '.join(map(str, sizes))}"
        )


def padded_vocabulary(model: ModelConfig) -> int:
    """Return the rows of the embedding, and of the head, in vLLM: it fills them up to a multiple of 64."""
    return part_size(model.vocab_size, 64) * 64


def _can_be_shared(model: ModelConfig, size: int) -> bool:
    """Return whether ``size`` ranks can share a model. Key-value heads that are fewer than ranks are repeated."""
    kv_heads = model.num_key_value_heads
    return (
        model.num_attention_heads % size == 0
        and model.intermediate_size % size == 0
        and padded_vocabulary(model) % size == 0
        and max(kv_heads, size) % min(kv_heads, size) == 0
    )
