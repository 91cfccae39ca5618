"""A model's folder: where it is, and the tokenizer that lies in it. Nothing here needs torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from common.errors import NotHereError
from common.models.config import ModelConfig
from common.models.families import ModelError
from common.models.tokenizer import TOKENIZER_FILES, read_tokenizer, special_tokens


class MissingTokenizerError(ModelError, NotHereError):
    """A model whose folder on this machine holds no tokenizer."""


#: The warm start that ships with the package.
_BUILTIN = {"builtin:quickstart": Path(__file__).parent / "quickstart"}


def model_folder(path: str, *, weights: bool = True) -> Path:
    """The local folder of a model: a folder, a built-in name, or a Hub name (downloaded, with its ``weights``).

    Raises :class:`ModelError` for one that does not exist.
    """
    folder = _BUILTIN.get(path, Path(path))
    if folder.is_dir():
        return folder
    if path.startswith("builtin:"):
        raise ModelError(f"model.path {path!r}: known built-in models: {', '.join(_BUILTIN)}")
    if not is_hub_name(path):
        raise ModelError(
            f"model.path {path!r}: no such folder; give a folder, a Hub name (owner/name) or {', '.join(_BUILTIN)}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.jinja", "*.txt", "*.py", *(["*.safetensors"] if weights else [])]
        return Path(snapshot_download(path, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"model.path {path!r}: neither a folder nor a model the Hub gives: {error}") from error


def is_hub_name(path: str) -> bool:
    """Return whether a path that is no folder can be the name of a model on the Hub, ``owner/name``."""
    return path.count("/") == 1 and not path.startswith((".", "/"))


def local_model_folder(path: str) -> Path | None:
    """Return the folder of a model that is on this machine, or None: nothing is downloaded.

    It may hold no weights: of a Hub name, only the configuration need be there.
    """
    folder = _BUILTIN.get(path, Path(path))
    if folder.is_dir():
        return folder
    if not is_hub_name(path):
        return None
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(path, "config.json")
    return Path(file).parent if isinstance(file, str) else None


def load_tokenizer(path: str) -> Any:
    """Load the tokenizer in the model's folder; its special ids must agree with config.json.

    Runs no code of the folder, and downloads no weights. Raises :class:`ModelError`.
    """
    folder = model_folder(path, weights=False)
    config = ModelConfig.from_folder(folder)
    tokenizer = read_tokenizer(folder, config.family)
    if tokenizer is None:
        raise MissingTokenizerError(f"{folder}: no tokenizer: needs tokenizer.json, or vocab.json and merges.txt")
    try:
        special_tokens(tokenizer, config.family).check(config.model_dump())
    except ValueError as error:
        raise ModelError(f"{folder}: {error}") from error
    return tokenizer


def tokenizer_hash(path: str) -> str:
    """Return a fingerprint of the tokenizer files, template included; every rollout records it."""
    folder = model_folder(path, weights=False)
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        file = folder / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]
