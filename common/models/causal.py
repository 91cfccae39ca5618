"""Stock causal models: their tokenizer, and the tokens that end their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.models.config import read_config
from common.models.families import ModelError, is_causal, stock_family
from common.models.folder import model_folder
from common.models.tokenizer import read_tokenizer, special_tokens


@dataclass(frozen=True)
class CausalModel:
    """The folder of a causal model, without its weights, and what sampling from it needs to know.

    Any of ``end_token_ids`` ends the text: what ``config.json``, ``generation_config.json`` and the tokenizer call
    the end of the text, and what ends a turn of the chat.
    """

    folder: Path
    tokenizer: Any
    end_token_ids: tuple[int, ...]
    max_position_embeddings: int
    vocab_size: int

    @classmethod
    def read(cls, path: str) -> CausalModel:
        """Read the description of a causal model; no weights are downloaded. Raises :class:`ModelError`."""
        folder = model_folder(path, weights=False)
        raw = read_config(folder)
        family = stock_family(raw)
        if family is None:
            raise ModelError(
                f"{folder / 'config.json'}: not a stock Qwen2 or Llama model, so not known as a causal one"
            )
        tokenizer = read_tokenizer(folder, family)
        if tokenizer is None:
            raise ModelError(
                f"{folder}: no tokenizer: needs tokenizer.json, or vocab.json and merges.txt of Qwen2"
            )
        known = special_tokens(tokenizer, family)
        stated = (known.eos, known.end_of_turn, *_stated_ends(raw), *_stated_ends(_generation_config(folder)))
        ends = {token for token in stated if token is not None}
        if not ends:
            raise ModelError(f"{folder}: no token ends its texts; state eos_token_id in config.json")
        positions, rows = (_size(folder, raw, name) for name in ("max_position_embeddings", "vocab_size"))
        return cls(folder, tokenizer, tuple(sorted(ends)), positions, rows)


def is_causal_model(path: str) -> bool:
    """Return whether a model is a stock causal one, not a masked-diffusion model. Raises :class:`ModelError`."""
    folder = model_folder(path, weights=False)
    try:
        return is_causal(read_config(folder))
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error


def _size(folder: Path, raw: Mapping[str, Any], name: str) -> int:
    size = raw.get(name)
    if not isinstance(size, int):
        raise ModelError(f"{folder / 'config.json'}: {name}: must be a number, not {size!r}")
    return size


def _stated_ends(raw: Mapping[str, Any]) -> Iterator[int]:
    stated = raw.get("eos_token_id")
    yield from stated if isinstance(stated, list) else [] if stated is None else [stated]


def _generation_config(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    return raw if isinstance(raw, dict) else {}
