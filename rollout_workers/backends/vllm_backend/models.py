"""Masked-diffusion models as vLLM architectures: stock Qwen2 and Llama whose attention sees the whole sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rollout_workers.backends.vllm_backend.names import (
    LlamaForCausalLM,
    ModelRegistry,
    Qwen2ForCausalLM,
    VllmConfig,
)
from rollout_workers.backends.vllm_backend.plugin import ARCHITECTURES


class _FullAttention:
    """What both have in common: they are built without a causal mask, and give logits of this rank's part."""

    lm_head: Any
    logits_processor: Any

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        # vLLM's own layers read it and take encoder-only attention: no causal mask, no KV cache.
        vllm_config.model_config.hf_config.is_causal = False
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]

    def part_logits(self, rows: Tensor) -> Tensor:
        """Compute the logits [n, V / R] of hidden rows [n, H] for this rank's part of the padded vocabulary."""
        logits: Tensor = self.logits_processor(self.lm_head, rows, skip_gather=True)
        return logits

    def pack_tied_head(self) -> None:
        """Bring a head that is the embedding into the form that its kernel reads, after the embedding has changed.

        vLLM does so for layers of which weights were loaded; on a CPU the head's kernel reads a copy of its own.
        """
        self.lm_head.quant_method.process_weights_after_loading(self.lm_head)


class Qwen2ForMaskedDiffusion(_FullAttention, Qwen2ForCausalLM):  # type: ignore[misc]
    """Dream, DiffuCoder and other models of Qwen2's shape."""


class LlamaForMaskedDiffusion(_FullAttention, LlamaForCausalLM):  # type: ignore[misc]
    """LLaDA and other models of Llama's shape."""


def register_here() -> None:
    """Register the classes themselves in this process: by name, vLLM would start another one to look at them.

    The plugin may have registered them by name already, when vLLM was imported.
    """
    for layout, architecture in (("qwen2", Qwen2ForMaskedDiffusion), ("llama", LlamaForMaskedDiffusion)):
        ModelRegistry.register_model(ARCHITECTURES[layout], architecture)
