"""The shape and conventions of a masked-diffusion model, read from and written to a Hugging Face config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ModelError(ValueError):
    """A model folder that cannot be used; the message names the file, the field and the remedy."""


Family = Literal["dream", "qwen2"]

_FAMILY_OF_MODEL_TYPE: dict[str, Family] = {"Dream": "dream", "dream": "dream", "qwen2": "qwen2"}


class ModelConfig(BaseModel):
    """A Qwen2-shaped bidirectional transformer.

    ``shift``: the logits that predict position i are read at position i - 1, as in models adapted from an
    autoregressive one (Dream, DiffuCoder).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family = "qwen2"
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must divide hidden_size, num_key_value_heads must divide it")
        for name in ("mask_token_id", "eos_token_id", "pad_token_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(f"{name} must lie in the vocabulary")
        return self

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def to_hugging_face(self, dtype: object = "float32") -> dict[str, Any]:
        """A config.json that ``transformers`` reads as a stock Qwen2 model."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "use_cache": False,
            "torch_dtype": str(dtype).removeprefix("torch."),
            "masked_diffusion": {"family": self.family, "shift": self.shift},
            **self.model_dump(exclude={"family", "shift"}),
        }

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """Read ``config.json``. Raises :class:`ModelError`."""
        path = folder / "config.json"
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise ModelError(f"{path}: no such file; give a folder that save_model wrote") from error
        except json.JSONDecodeError as error:
            raise ModelError(f"{path}: not JSON: {error}") from error
        family = _FAMILY_OF_MODEL_TYPE.get(raw.get("model_type"))
        if family is None:
            known = ", ".join(sorted(_FAMILY_OF_MODEL_TYPE))
            raise ModelError(f"{path}: model_type {raw.get('model_type')!r} is not one of {known}")
        conventions = raw.get("masked_diffusion", {"family": family, "shift": True})
        rope = raw.get("rope_parameters") or {}
        fields = {name: raw[name] for name in cls.model_fields if name in raw} | conventions
        fields.setdefault("rope_theta", rope.get("rope_theta", 1e6))
        fields.setdefault("tie_word_embeddings", False)
        if fields.get("pad_token_id") is None:
            fields["pad_token_id"] = fields.get("eos_token_id")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ModelError(f"{path}: {where}: {problem['msg']}") from error
