"""A loaded model made ready for training: adapters, recomputation, compilation, kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from common.config import EngineConfig, LoraConfig
from common.models.transformer import FeedForward, MaskedDiffusionModel

_ADAPTER = "default"
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def prepare(model: MaskedDiffusionModel, config: EngineConfig, seed: int) -> None:
    """Make a loaded model ready for training, in place.

    Where ``deterministic`` asks for it, this process computes with kernels that repeat bitwise from now on.
    """
    if config.lora is not None:
        _attach_adapters(model, config.lora, seed)
    if config.weights_dtype == "bfloat16":
        model.to(torch.bfloat16)
    model.checkpoint_layers = config.gradient_checkpointing
    if config.compile:
        # Attention is one kernel already, and its shapes change with every packing.
        for module in model.modules():
            if isinstance(module, FeedForward):
                module.compile(dynamic=True)
    if config.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        # It would write NaN over every buffer that is allocated; ZeRO has large ones in each backward pass.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@torch.no_grad()
def merged_parameters(model: MaskedDiffusionModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters that the model has without adapters, with the adapters added to them."""
    adapted = {name: m for name, m in model.named_modules() if hasattr(m, "get_delta_weight")}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        owner, _, leaf = name.partition(".base_layer.")
        if not leaf:
            yield name, parameter
        elif leaf == "weight":
            yield f"{owner}.weight", parameter.float() + adapted[owner].get_delta_weight(_ADAPTER).float()
        else:
            yield f"{owner}.{leaf}", parameter


def _attach_adapters(model: MaskedDiffusionModel, config: LoraConfig, seed: int) -> None:
    """Put adapters (LoRA) on every matrix of every layer, in place, and freeze the rest.

    They change nothing at first.
    """
    from peft import LoraConfig as PeftConfig  # an extra
    from peft import inject_adapter_in_model

    settings = PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=_TARGETS)
    inject_adapter_in_model(settings, model)
    # peft draws from torch's global generator, which would make a run depend on what was drawn before.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                bound = parameter.shape[1] ** -0.5
                parameter.copy_(torch.rand(parameter.shape, generator=generator) * (2 * bound) - bound)
