"""Models from their folders, and folders of models: weights and configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.disk import replaced_folder, writing
from common.models.checkpoint import SHARD_BYTES, read_weights, write_weights
from common.models.config import ModelConfig, read_config
from common.models.families import checkpoint_name, stock_family
from common.models.folder import model_folder
from common.models.tokenizer import TOKENIZER_FILES
from common.models.transformer import MaskedDiffusionModel


def load_model(path: str, device: torch.device | str = "cpu") -> MaskedDiffusionModel:
    """Load a model with fp32 weights on ``device``. Raises :class:`ModelError`."""
    folder = model_folder(path)
    model = _allocate(ModelConfig.from_folder(folder), device)
    raw = read_config(folder)
    parameters = {checkpoint_name(raw, name): tensor for name, tensor in model.named_parameters()}
    # Some writers of a model whose output layer is its embedding store that tensor under both names.
    head = checkpoint_name(raw, "lm_head.weight")
    read_weights(folder, parameters, ignored={head} - parameters.keys())
    return model


def save_model(
    config: ModelConfig,
    parameters: Iterable[tuple[str, Tensor]],
    target: Path,
    source: Path,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that :func:`load_model` reads, in the format of the folder that the model stems from. Atomic.

    From a ``source`` whose ``config.json`` is that of a family of its own, such as Dream or LLaDA, it is taken
    over with all its keys, and so are the family's parameter names, its code (which is not run) and its settings
    of generation. Else the folder is a stock Qwen2 or Llama model with our section, which transformers'
    ``from_pretrained`` reads. The tokenizer is that of ``source`` either way.

    Weights of more than ``shard_bytes`` become several files. ``parameters`` are taken one after the other, and no
    more than a shard of them is held. Raises :class:`DiskError`.
    """
    own = _own_format(source)
    named = (
        (name if own is None else checkpoint_name(own, name), tensor)
        for name, tensor in parameters
        if not (config.tie_word_embeddings and name == "lm_head.weight")
    )
    with writing("the model", target), replaced_folder(target) as temporary:
        write_weights(temporary, named, dtype, shard_bytes)
        stated = config.to_hugging_face(dtype) if own is None else own | _stated_dtype(own, dtype)
        (temporary / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
        extra = () if own is None else ("generation_config.json", *(file.name for file in source.glob("*.py")))
        for name in (*TOKENIZER_FILES, *extra):
            if (source / name).is_file():
                shutil.copyfile(source / name, temporary / name)


def _own_format(source: Path) -> dict[str, Any] | None:
    """Return the ``config.json`` of ``source`` where it is not that of a stock architecture."""
    if not (source / "config.json").is_file():
        return None
    raw = read_config(source)
    return raw if stock_family(raw) is None else None


def _stated_dtype(raw: Mapping[str, Any], dtype: torch.dtype) -> dict[str, str]:
    """Return the keys of a config.json that name the type of the weights; transformers renamed it."""
    names = [name for name in ("torch_dtype", "dtype") if name in raw] or ["torch_dtype"]
    return dict.fromkeys(names, str(dtype).removeprefix("torch."))


def _allocate(config: ModelConfig, device: torch.device | str) -> MaskedDiffusionModel:
    """Make a model with arbitrary weights: to draw billions of them, only to overwrite them, takes minutes."""
    with torch.device("meta"):
        model = MaskedDiffusionModel(config)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype, device=device)))
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.to(device)
