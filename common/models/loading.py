"""Model folders: load and save weights, configuration and tokenizer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from common.models.config import ModelConfig, ModelError
from common.models.transformer import MaskedDiffusionModel

#: The warm start that ships with the package.
_BUILTIN = {"builtin:quickstart": Path(__file__).parent / "quickstart"}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def model_folder(path: str) -> Path:
    """The local folder of a model: a folder, a built-in name, or a Hub name (downloaded).

    Raises :class:`ModelError` for one that does not exist.
    """
    folder = _BUILTIN.get(path, Path(path))
    if folder.is_dir():
        return folder
    if path.startswith("builtin:"):
        raise ModelError(f"model.path {path!r}: known built-in models: {', '.join(_BUILTIN)}")
    if path.count("/") != 1 or path.startswith((".", "/")):
        raise ModelError(f"model.path {path!r}: no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"model.path {path!r}: neither a folder nor a model the Hub gives: {error}") from error


def load_model(path: str, device: torch.device | str = "cpu") -> MaskedDiffusionModel:
    """A model with fp32 weights on ``device``. Raises :class:`ModelError`."""
    folder = model_folder(path)
    model = MaskedDiffusionModel(ModelConfig.from_folder(folder))
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            weights |= load_file(file)
        except SafetensorError as error:
            raise ModelError(f"{file}: cannot be read: {error}") from error
    if not weights:
        raise ModelError(f"{folder}: holds no .safetensors file")
    if model.config.tie_word_embeddings and "model.embed_tokens.weight" in weights:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes
        raise ModelError(f"{folder}: weights do not fit config.json: {error}") from error
    if missing or unexpected:
        raise ModelError(
            f"{folder}: weights do not fit config.json: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    return model.float().to(device)


def load_tokenizer(path: str) -> Any:
    """The tokenizer in the model's folder; its special ids must agree with config.json."""
    folder = model_folder(path)
    config = ModelConfig.from_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name in ("mask", "eos"):
        theirs, ours = getattr(tokenizer, f"{name}_token_id"), getattr(config, f"{name}_token_id")
        if theirs is not None and theirs != ours:
            raise ModelError(f"{folder}: {name}_token_id is {ours} in config.json and {theirs} in the tokenizer")
    return tokenizer


def tokenizer_hash(path: str) -> str:
    """Fingerprint of the tokenizer files, template included; recorded in every rollout."""
    folder = model_folder(path)
    digest = hashlib.sha256()
    for name in _TOKENIZER_FILES:
        file = folder / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def save_model(
    config: ModelConfig,
    parameters: Iterable[tuple[str, Tensor]],
    target: Path,
    tokenizer_from: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a folder that :func:`load_model` and transformers' ``from_pretrained`` read. Atomic."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    weights = {
        name: tensor.detach().to("cpu", dtype).contiguous().clone()
        for name, tensor in parameters
        if not (config.tie_word_embeddings and name == "lm_head.weight")
    }
    save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
    (temporary / "config.json").write_text(json.dumps(config.to_hugging_face(dtype), indent=2) + "\n")
    for name in _TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, temporary / name)
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
