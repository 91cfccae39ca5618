"""Low-rank adapters (LoRA) by peft: put into a model, and merged into the weights that leave the learner."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from common.config import LoraConfig
from common.models.transformer import MaskedDiffusionModel

_ADAPTER = "default"
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def attach(model: MaskedDiffusionModel, config: LoraConfig, seed: int) -> None:
    """Put adapters on every matrix of every layer, in place, and freeze the rest. They change nothing at first."""
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


@torch.no_grad()
def merged_parameters(model: MaskedDiffusionModel) -> Iterator[tuple[str, Tensor]]:
    """The parameters that the model has without adapters, the adapters added to them."""
    adapted = {name: m for name, m in model.named_modules() if hasattr(m, "get_delta_weight")}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        owner, _, leaf = name.partition(".base_layer.")
        if not leaf:
            yield name, parameter
        elif leaf == "weight":
            yield f"{owner}.weight", parameter + adapted[owner].get_delta_weight(_ADAPTER)
        else:
            yield f"{owner}.{leaf}", parameter
