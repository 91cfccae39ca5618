"""The shape and conventions of a masked-diffusion model, read from and written to a Hugging Face config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.models.families import SECTION, ModelError, family_named, stated_fields
from common.models.tokenizer import read_tokenizer, special_tokens

#: Ids without which nothing can be denoised.
_NEEDED_IDS = ("mask_token_id", "eos_token_id")


class ModelConfig(BaseModel):
    """A bidirectional transformer of Qwen2's or Llama's shape.

    ``shift``: the logits that predict position i are read at position i - 1, as in models adapted from an
    autoregressive one (Dream, DiffuCoder).
    ``vocab_size`` counts the rows of the embedding, ``token_count`` those that are a token (None: all); the rows
    behind them are padding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = "qwen2"
    vocab_size: int = Field(gt=2)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    max_position_embeddings: int = 4096
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    shift: bool = True
    mask_token_id: int
    eos_token_id: int
    pad_token_id: int
    end_of_turn_token_id: int | None = None
    token_count: int | None = Field(default=None, gt=2)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must divide hidden_size, num_key_value_heads must divide it")
        if self.head_dim % 2:
            raise ValueError("hidden_size / num_attention_heads must be even for rotary positions")
        tokens = self.vocab_size if self.token_count is None else self.token_count
        if tokens > self.vocab_size:
            raise ValueError(f"token_count {tokens} must not exceed vocab_size {self.vocab_size}")
        for name in ("mask_token_id", "eos_token_id", "pad_token_id", "end_of_turn_token_id"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < tokens:
                raise ValueError(f"{name} {token} must lie in the vocabulary of {tokens} tokens")
        if self.mask_token_id in self.end_token_ids:
            raise ValueError(f"mask_token_id {self.mask_token_id} must not be a token that ends the text")
        return self

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def attention_bias(self) -> bool:
        """Whether q, k and v have biases."""
        return family_named(self.family).layout == "qwen2"

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Return the tokens any of which ends the text, ascending."""
        ids = {self.eos_token_id, self.pad_token_id, self.end_of_turn_token_id}
        return tuple(sorted(token for token in ids if token is not None))

    @property
    def forbidden_token_ids(self) -> tuple[int, ...]:
        """Return the tokens never predicted, ascending: the mask token and the padding of the vocabulary."""
        tokens = self.vocab_size if self.token_count is None else self.token_count
        return (self.mask_token_id, *range(tokens, self.vocab_size))

    def to_hugging_face(self, dtype: object = "float32") -> dict[str, Any]:
        """Return a config.json that ``transformers`` reads as a stock Qwen2 or Llama model."""
        conventions = {"family", "shift", "end_of_turn_token_id", "token_count"}
        layout = family_named(self.family).layout
        biases = {} if layout == "qwen2" else {"attention_bias": False, "mlp_bias": False}
        return {
            "architectures": ["Qwen2ForCausalLM" if layout == "qwen2" else "LlamaForCausalLM"],
            "model_type": layout,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            **biases,
            "use_cache": False,
            "torch_dtype": str(dtype).removeprefix("torch."),
            SECTION: self.model_dump(include=conventions),
            **self.model_dump(exclude=conventions),
        }

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """Read ``config.json``. Raises :class:`ModelError`.

        A folder that :func:`common.models.loading.save_model` wrote says all in it. For a published one, the
        special ids and the count of tokens that it leaves open come from the tokenizer beside it.
        """
        return cls.from_json(read_config(folder), folder)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], folder: Path) -> ModelConfig:
        """Read what ``config.json`` of ``folder`` says, or is to say. Raises :class:`ModelError`."""
        try:
            fields = stated_fields(raw)
            return cls.model_validate(_completed(fields)) if SECTION in raw else cls._of_published(folder, fields)
        except ModelError:
            raise
        except ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"{part}: " for part in problem["loc"])
            raise ModelError(f"{folder / 'config.json'}: {where}{problem['msg']}") from error
        except ValueError as error:
            raise ModelError(f"{folder / 'config.json'}: {error}") from error

    @classmethod
    def _of_published(cls, folder: Path, fields: dict[str, Any]) -> ModelConfig:
        tokenizer = read_tokenizer(folder, fields["family"])
        if tokenizer is None:
            left_open = [name for name in _NEEDED_IDS if fields[name] is None]
            if left_open:
                raise ModelError(
                    f"{folder / 'config.json'}: leaves {' and '.join(left_open)} to the tokenizer, and the folder "
                    "has none; add its files: tokenizer.json, or vocab.json and merges.txt"
                )
            return cls.model_validate(_completed(fields))
        known = special_tokens(tokenizer, fields["family"])
        fields = _completed(known.complete(fields))
        # Once with no more than the file states, so that its ids are compared with the tokenizer's.
        stated = cls.model_validate(fields | {"token_count": None, "end_of_turn_token_id": None})
        known.check(stated.model_dump())
        return cls.model_validate(fields)


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``. Raises :class:`ModelError`."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; give the folder of a model") from error
    except ValueError as error:  # neither JSON nor UTF-8
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path}: not JSON: an object is needed")
    return raw


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the end of text as pad where there is none; the other ids must be known."""
    for name in _NEEDED_IDS:
        if fields[name] is None:
            raise ValueError(f"{name}: missing, and no tokenizer declares one; add its id to config.json")
    pad = fields["eos_token_id"] if fields["pad_token_id"] is None else fields["pad_token_id"]
    return fields | {"pad_token_id": pad}
