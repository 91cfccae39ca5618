"""Models in a ``.gguf`` file (llama.cpp's format), read by transformers with the extra ``gguf``."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from common.models.families import ModelError
from common.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import Tensor


def unpack_description(file: Path, folder: Path) -> None:
    """Write ``config.json`` and the tokenizer of a ``.gguf`` file into ``folder``. Raises :class:`ModelError`."""
    from transformers import AutoConfig, AutoTokenizer

    with _readable(file):
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2, default=str) + "\n")
    tokenizer.save_pretrained(folder)


def read_gguf_weights(file: Path) -> dict[str, Tensor]:
    """Read the weights of a ``.gguf`` file, dequantized to fp32, by their Hugging Face names.

    Raises :class:`ModelError`.
    """
    from transformers import AutoModelForCausalLM

    with _readable(file):
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    return dict(model.state_dict())


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a ModelError."""
    if not file.is_file():
        raise ModelError(f"model.path {str(file)!r}: no such file")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"model.path {str(file)!r}: to read it takes the package gguf; pip install 'couplet-rl[gguf]'"
        )
    try:
        # The bar of dequantization is not one of those that transformers can switch off.
        with quiet_transformers(), redirect_stderr(StringIO()):
            yield
    except (ValueError, TypeError, LookupError, OSError, NotImplementedError, struct.error) as error:
        raise ModelError(
            f"model.path {str(file)!r}: not a Qwen2 or Llama model that can be read: {error}; fetch it again, or "
            "give its Hugging Face folder"
        ) from error
